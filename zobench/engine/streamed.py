"""Engine `streamed`: all points of a call in one forward, and the last step's move made inside it: one sweep a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from ..directions.algebra import ZERO, Direction
from ..directions.handle import Handle
from ..directions.nodes import Plan
from ..directions.piecewise import uncomputed
from ..models.lockstep import lockstep
from .base import Closure, Value
from .deferred import Deferred
from .pair import Pair, displaced


class Streamed(Pair, Deferred):
    """The weights are never displaced: those of a point live while the module that owns them runs. So a restore is
    exact and free, and beside the model there is memory for the weights of one module a point, and for the activations
    of `most` points.

    Of the objective it needs what zobench.Objective offers if it is `batched`; others are looked at as on `pair`, with
    a copy of the scope for each point. Between steps the last move may still be owed, as on `deferred`.
    """

    name: ClassVar[str] = "streamed"
    one_order: ClassVar[bool] = False
    captures: ClassVar[bool] = False

    def losses(self, closure: Closure | None, points: Sequence[Direction]) -> list[Tensor]:
        if closure is None or not getattr(closure, "batched", False):
            self.settle()
            return super().losses(closure, points)
        self.stamps.check()
        out: list[Tensor] = []
        for i in range(0, len(points), self.most):
            with self.timers.part("forward"):
                out += self._side_by_side(closure, points[i : i + self.most])
        if points:
            self.stamps.take(points[-1], self.handles)
        return out

    def settle(self) -> None:
        Deferred.settle(self)  # what is owed is paid; nothing else is ever displaced
        self.held.refresh(self.handles)

    def _side_by_side(self, objective: Any, points: Sequence[Direction]) -> list[Tensor]:
        """The losses at these points, by one forward; what is pending is paid on the way."""
        self.sweeps += 1
        fuse = uncomputed(self.drawn, sole=False)
        plan, owing = Plan(*points, self.pending, drawn=self.drawn, fuse=fuse), set[str]()
        if self.pending.terms:
            owing.update(p.name for p in self.handles)

        def pay(p: Handle, move: Value | None) -> None:
            if p.name in owing:
                owing.discard(p.name)
                if move is not None:
                    self.held.add(p, move)

        by_name = {p.name: p for p in self.handles}

        def weights(name: str) -> list[Tensor]:
            p = by_name[name]
            with self.timers.part("perturb"):
                *values, move = plan.on(p)
                pay(p, move)
                return displaced(p, self.held.theta(p), values)

        try:
            parameters = {p.name: p.param for p in self.handles}
            with lockstep(objective.model, parameters, len(points), weights):
                losses: list[Tensor] = objective.tiled(len(points))
        finally:  # of what no module ran on, or after a fault
            rest = Plan(self.pending, drawn=self.drawn, fuse=fuse)
            for p in self.handles:
                if p.name in owing:
                    pay(p, rest.on(p)[0])
            self.pending = ZERO
        return losses
