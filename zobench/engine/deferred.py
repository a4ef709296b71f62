"""Engine `deferred`: two sweeps a step. A move is noted, and made in the sweep that displaces for the next look."""

from __future__ import annotations

from typing import ClassVar

from ..directions.algebra import Direction
from .base import decay
from .flat import Flat


class Deferred(Flat):
    """Between steps the parameters stand displaced, so only a training loop that calls `settle` before every
    evaluation and checkpoint may use it. Only pure noise is deferred (it closes over nothing); a move with weight
    decay, several learning rates or buffers in it is made at once, as on `flat`.
    """

    name: ClassVar[str] = "deferred"

    def move(self, delta: Direction) -> None:
        if not delta.linear():
            super().move(delta)
            return
        self.stamps.check()
        self.pending = self.pending.plus(delta)

    def descend(self, grad: Direction) -> None:
        rates = {float(p.group["lr"]) for p in self.handles}
        if len(rates) == 1 and grad.linear() and not any(decay(p) for p in self.handles):
            self.move(grad * -rates.pop())
        else:
            super().descend(grad)

    def end_step(self) -> None:
        self.drawn.end()
