"""Scoring candidates: which answer the model finds likeliest (MeZO's run.py, one_step_pred)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from ..models.forward import Forward
from .batch import collate, share, stems
from .encode import Encoded, Row
from .loss import option_log_probs
from .parts import parts
from .rules import Rules
from .spread import Spread, gathered, own_share

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the items done and their total."""
Item: TypeAlias = tuple[Encoded, Encoded | None]
"""The rows of an item, and its calibration rows where scoring needs them."""


class Scorer:
    """Scores rows of one model and counts its forward passes: calls of the model, each of one row or more.

    A candidate's score is the mean log-probability of its option's tokens, or for calibrated scoring the sum minus the
    sum of the calibration row; calibration rows that come again (in most tasks all are the same) are not run again.

    together: 0: the rows as they are, item by item, `score_batch_size` of them a forward. Else that many stems (see
    zobench.tasks.batch) of all items a forward, those of like length together: the same scores, up to rounding;
    `tokens`: of short ones as many more as have so many tokens.
    spread: processes that share the forwards of a split; the scores are those of one, bit for bit.
    """

    def __init__(
        self,
        forward: Forward,
        rules: Rules,
        pad_id: int,
        device: torch.device | str,
        most: int | None = None,
        together: int = 0,
        tokens: int = 0,
        spread: Spread | None = None,
    ) -> None:
        self.spread = spread
        self.forward, self.rules, self.pad_id, self.device = forward, rules, pad_id, device
        self.most, self.together, self.tokens = most, together, tokens
        self.forwards = 0
        self._known: dict[Row, tuple[float, float]] = {}  # sum and mean of rows that were run

    def choices(self, items: Sequence[Item], progress: Progress | None = None) -> list[int | None]:
        """The chosen candidate of each item."""
        return [_best(scores) for scores in self.every(items, progress)]

    def every(self, items: Sequence[Item], progress: Progress | None = None) -> list[list[float]]:
        """The scores of each item, one a candidate."""
        if self.together:
            self._run_together(_distinct(items), len(items), progress)
            return [self.scores(*item) for item in items]
        mine: dict[int, list[float]] = {}
        for i in own_share(len(items), self.spread):
            mine[i] = self.scores(*items[i])
            if progress is not None:
                progress(i + 1, len(items))
        scores, self.forwards = gathered("scores of items", mine, self.forwards, self.spread)
        return [scores[i] for i in range(len(items))]

    def choose(self, encoded: Encoded, sfc: Encoded | None) -> int | None:
        """The index of the best candidate, the first among equals; None if a score is NaN."""
        return _best(self.scores(encoded, sfc))

    def scores(self, encoded: Encoded, sfc: Encoded | None = None) -> list[float]:
        """One score a candidate."""
        sums, means = self.rows(encoded.rows)
        if sfc is None:
            return means
        new = [row for row in dict.fromkeys(sfc.rows) if row not in self._known]
        self._known.update(zip(new, zip(*self.rows(new), strict=True), strict=True))
        return [s - self._known[row][0] for s, row in zip(sums, sfc.rows, strict=True)]

    def rows(self, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        """Sums and means of the rows' option log-probabilities, `score_batch_size` rows a forward pass.

        One row alone is neither padded nor masked. Rows that were run together are not run again.
        """
        if self.together:
            self._run_together([row for row in dict.fromkeys(rows) if row not in self._known])
            return [self._known[row][0] for row in rows], [self._known[row][1] for row in rows]
        sums, means, size = [], [], self.rules.score_batch_size
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            sum_, mean = self._forward(part)
            sums.append(sum_)
            means.append(mean)
        if not sums:
            return [], []
        return torch.cat(sums).tolist(), torch.cat(means).tolist()

    def _forward(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        alone = len(rows) == 1
        encoded = Encoded(tuple(rows), None, (), (), "")
        multiple = 1 if alone else self.rules.pad_to_multiple_of
        batch = collate([encoded], self.pad_id, multiple, self.most).to(self.device)
        selected, _ = option_log_probs(self.forward, batch, masked=not alone)
        self.forwards += 1 if alone else self.forward.calls(batch.attention_mask)
        if alone:
            return selected.sum(-1), selected.mean(-1)  # in float16 rounded once each, as in MeZO
        return selected.sum(-1), selected.sum(-1) / batch.option_len

    def _run_together(self, rows: Sequence[Row], items: int = 0, progress: Progress | None = None) -> None:
        """Run rows, all different, in `parts` of stems; the longest first, so that memory runs out at once."""
        if not rows:
            return
        held, found = sorted(stems(rows), key=lambda stem: -len(stem.ids)), dict[int, list[tuple[float, float]]]()
        batches = [held[these] for these in parts([len(stem.ids) for stem in held], self.together, self.tokens)]
        numbers, forwards = [[number for stem in batch for number in stem.rows] for batch in batches], 0
        for i in own_share(len(batches), self.spread):
            shared = share([rows[n] for n in numbers[i]], self.pad_id, most=self.most).to(self.device)
            sums = shared.log_probs(self.forward).sum(-1)
            means = sums / shared.inside.sum(-1)
            found[i] = list(zip(sums.tolist(), means.tolist(), strict=True))
            forwards += self.forward.calls(shared.attention_mask)
            if progress is not None:
                progress(items * sum(map(len, numbers[: i + 1])) // len(rows), items)
        found, forwards = gathered("scores of rows", found, forwards, self.spread)
        self.forwards += forwards
        for i, part_of in enumerate(numbers):
            self._known.update(zip((rows[n] for n in part_of), found[i], strict=True))


def _best(scores: list[float]) -> int | None:
    return None if any(math.isnan(s) for s in scores) else scores.index(max(scores))


def expected_forwards(items: Sequence[Item], size: int, together: int, tokens: int = 0) -> int:
    """The forwards that `Scorer.choices` takes, `size` being the rules' `score_batch_size`; models that see padding
    take more, as rows of other lengths are run apart.
    """
    if together:
        lengths = sorted((len(stem.ids) for stem in stems(_distinct(items))), reverse=True)
        return len(parts(lengths, together, tokens))
    forwards, known = 0, set[Row]()
    for encoded, sfc in items:
        new = set(() if sfc is None else sfc.rows) - known
        known |= new
        forwards += math.ceil(len(encoded.rows) / size) + math.ceil(len(new) / size)
    return forwards


def _distinct(items: Sequence[Item]) -> list[Row]:
    return list(dict.fromkeys(row for item in items for encoded in item if encoded for row in encoded.rows))
