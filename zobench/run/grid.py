"""The learning rates of a cell: those of its grid and, where the best is an end of it, further ones beyond that end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence


class Grid:
    """Learning rates to try, one after the other; `heard` is told the dev loss of each before the next is asked for.

    rates: the grid. further: rates tried beyond it, at most: while the lowest dev loss is at the lower or the upper
    end of all that were tried, one more beyond that end, as far from it as its neighbour, to two digits. Where all
    failed, below them. A grid of one rate has no ends.
    """

    def __init__(self, rates: Sequence[float], further: int = 0) -> None:
        self._rates, self._further = tuple(rates), further if len(set(rates)) > 1 else 0
        self._losses: dict[float, float] = {}

    def __iter__(self) -> Iterator[float]:
        yield from self._rates
        for _ in range(self._further):
            beyond = self._beyond()
            if beyond is None:
                return
            yield beyond

    def heard(self, lr: float, loss: float | None) -> None:
        """The lowest dev loss of the run at `lr`; none where it failed."""
        self._losses[lr] = math.inf if loss is None else loss

    def _beyond(self) -> float | None:
        tried = sorted(self._losses)
        best = min(tried, key=lambda lr: (self._losses[lr], lr))
        ends = {tried[0]: tried[1], tried[-1]: tried[-2]}
        return float(f"{best * best / ends[best]:.1e}") if best in ends else None
