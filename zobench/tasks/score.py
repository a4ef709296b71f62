"""Scoring candidates: which answer the model finds likeliest (MeZO's run.py, one_step_pred)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..models.forward import Forward
from .batch import Packed, Stems, collate, pack, share, stems
from .encode import Encoded, Row
from .loss import option_log_probs
from .parts import parts
from .rules import Rules
from .spread import Spread, gathered, own_share

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the items done and their total."""
Item: TypeAlias = tuple[Encoded, Encoded | None]
"""The rows of an item, and its calibration rows where scoring needs them."""


@dataclass(frozen=True)
class LaidOut:
    """How the rows of some items are passed over."""

    forwards: list[tuple[list[int], Stems | Packed]]
    """Of each forward the numbers of its rows, and their stems."""
    items: list[tuple[list[int], list[int] | None]]
    """Of each item the numbers of its rows, and of its calibration rows."""


Layouts: TypeAlias = dict[int, tuple[Sequence[Item], LaidOut]]
"""By the id of items, these and how they are passed over."""


@dataclass(frozen=True)
class Score:
    """A split, scored."""

    metric: str
    value: float
    n: int
    stderr: float
    items: list[float]
    """One value an item, in the split's order; NaN where the model gave NaN."""
    forwards: int
    """Calls of the model, however many rows each was of."""
    predictions: list[int | str]
    """The chosen candidate's index, or the generated text."""


@dataclass(frozen=True)
class Evaluated:
    """The loss on dev, and the calls of the model it took."""

    value: float
    forwards: int


class Scorer:
    """Scores rows of one model and counts its forward passes: calls of the model, each of one row or more.

    A candidate's score is the mean log-probability of its option's tokens, or for calibrated scoring the sum minus the
    sum of the calibration row; calibration rows that come again (in most tasks all are the same) are not run again.

    together: 0: the rows as they are, item by item, `score_batch_size` of them a forward. Else that many stems (see
    zobench.tasks.batch) of all items a forward, those of like length together: the same scores, up to rounding;
    `tokens`: of short ones as many more as have so many tokens.
    spread: processes that share the forwards of a split; the scores are those of one, bit for bit.
    packs: stems stand side by side in a forward of so many tokens.
    laid: the forwards of items that were scored before, which are the same for every model; new ones are entered.
    """

    def __init__(
        self,
        forward: Forward,
        rules: Rules,
        pad_id: int,
        device: torch.device | str,
        *,
        most: int | None = None,
        together: int = 0,
        tokens: int = 0,
        spread: Spread | None = None,
        packs: bool = False,
        laid: Layouts | None = None,
    ) -> None:
        self.spread, self.packs, self.laid = spread, packs, {} if laid is None else laid
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
            laid = self._laid_out(items)
            found = self._run_together(laid, len(items), progress)
            return [_scores(found, *numbers) for numbers in laid.items]
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
            new = [row for row in dict.fromkeys(rows) if row not in self._known]
            if new:
                self._known.update(zip(new, self._run_together(self._lay_out(new, [])), strict=True))
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

    def _laid_out(self, items: Sequence[Item]) -> LaidOut:
        """How these items are passed over, found out once."""
        known = self.laid.get(id(items))
        if known is None or known[0] is not items:
            known = self.laid[id(items)] = (items, self._lay_out(_distinct(items), items))
        return known[1]

    def _lay_out(self, rows: Sequence[Row], items: Sequence[Item]) -> LaidOut:
        """Forwards over rows, all different, in `parts` of stems; the longest first: memory runs out at once."""
        held = sorted(stems(rows), key=lambda stem: -len(stem.ids))
        batches = [held[these] for these in parts([len(stem.ids) for stem in held], self.together, self.tokens)]
        forwards: list[tuple[list[int], Stems | Packed]] = []
        for batch in batches:
            numbers = [number for stem in batch for number in stem.rows]
            forwards.append((numbers, self._stems([rows[n] for n in numbers])))
        number = {row: n for n, row in enumerate(rows)}
        numbered = [
            ([number[r] for r in own.rows], None if sfc is None else [number[r] for r in sfc.rows])
            for own, sfc in items
        ]
        return LaidOut(forwards, numbered)

    def _stems(self, rows: Sequence[Row]) -> Stems | Packed:
        if self.packs and self.tokens:
            return pack(rows, self.pad_id)
        return share(rows, self.pad_id, most=self.most)

    def _run_together(
        self, laid: LaidOut, items: int = 0, progress: Progress | None = None
    ) -> list[tuple[float, float]]:
        """Of each row the sum and the mean of its option's log-probabilities."""
        found, forwards = dict[int, list[tuple[float, float]]](), 0
        total, done = sum(len(numbers) for numbers, _ in laid.forwards), 0
        for i in own_share(len(laid.forwards), self.spread):
            shared = laid.forwards[i][1].to(self.device)
            sums = shared.log_probs(self.forward).sum(-1)
            means = sums / shared.inside.sum(-1)
            found[i] = list(zip(sums.tolist(), means.tolist(), strict=True))
            forwards += 1 if isinstance(shared, Packed) else self.forward.calls(shared.attention_mask)
            if progress is not None:
                done = sum(len(numbers) for numbers, _ in laid.forwards[: i + 1])
                progress(items * done // total, items)
        found, forwards = gathered("scores of rows", found, forwards, self.spread)
        self.forwards += forwards
        out: list[tuple[float, float]] = [(math.nan, math.nan)] * total
        for i, (numbers, _) in enumerate(laid.forwards):
            for number, values in zip(numbers, found[i], strict=True):
                out[number] = values
        return out


def _scores(found: Sequence[tuple[float, float]], own: Sequence[int], sfc: Sequence[int] | None) -> list[float]:
    """One a candidate, of (sum, mean) by the numbers of its rows."""
    if sfc is None:
        return [found[n][1] for n in own]
    return [found[n][0] - found[m][0] for n, m in zip(own, sfc, strict=True)]


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
