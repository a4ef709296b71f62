"""Scoring candidates: which answer the model finds likeliest (MeZO's run.py, one_step_pred)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from .batch import collate
from .encode import Encoded, Row
from .loss import Reading, option_log_probs
from .rules import Rules


class Scorer:
    """Scores rows of one model and counts its forward passes.

    A candidate's score is the mean log-probability of its option's tokens, or for calibrated scoring the sum minus the
    sum of the calibration row; calibration rows that come again (in most tasks all are the same) are not run again.
    """

    def __init__(
        self,
        model: nn.Module,
        reading: Reading,
        rules: Rules,
        pad_id: int,
        device: torch.device | str,
        most: int | None = None,
    ) -> None:
        self.model, self.reading, self.rules, self.pad_id, self.device = model, reading, rules, pad_id, device
        self.most = most
        self.forwards = 0
        self._calibration: dict[Row, float] = {}

    def choose(self, encoded: Encoded, sfc: Encoded | None) -> int | None:
        """The index of the best candidate, the first among equals; None if a score is NaN."""
        scores = self.scores(encoded, sfc)
        return None if any(math.isnan(s) for s in scores) else scores.index(max(scores))

    def scores(self, encoded: Encoded, sfc: Encoded | None = None) -> list[float]:
        """One score a candidate."""
        sums, means = self.rows(encoded.rows)
        if sfc is None:
            return means
        new = [row for row in dict.fromkeys(sfc.rows) if row not in self._calibration]
        self._calibration.update(zip(new, self.rows(new)[0], strict=True))
        return [s - self._calibration[row] for s, row in zip(sums, sfc.rows, strict=True)]

    def rows(self, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        """Sums and means of the rows' option log-probabilities, `score_batch_size` rows a forward pass.

        One row alone is neither padded nor masked.
        """
        sums, means, size = [], [], self.rules.score_batch_size
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            sum_, mean = self._forward(part)
            sums.append(sum_)
            means.append(mean)
            self.forwards += 1
        if not sums:
            return [], []
        return torch.cat(sums).tolist(), torch.cat(means).tolist()

    def _forward(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        alone = len(rows) == 1
        encoded = Encoded(tuple(rows), None, (), (), "")
        multiple = 1 if alone else self.rules.pad_to_multiple_of
        batch = collate([encoded], self.pad_id, multiple, self.most).to(self.device)
        forward = self._unmasked if alone else self.model
        selected, _ = option_log_probs(forward, batch, self.reading)
        if alone:
            return selected.sum(-1), selected.mean(-1)  # in float16 rounded once each, as in MeZO
        return selected.sum(-1), selected.sum(-1) / batch.option_len

    def _unmasked(self, *, attention_mask: torch.Tensor, position_ids: object = None, **kw: object) -> object:
        return self.model(**kw)
