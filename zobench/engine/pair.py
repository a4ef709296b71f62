"""Engine `pair`: theta is never displaced. All points of a call are evaluated on working copies of the scope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..directions.algebra import Direction
from ..directions.fused import Fused, several
from ..directions.handle import Handle
from ..directions.nodes import Plan
from ..directions.piecewise import uncomputed
from .base import Closure, Value, plus
from .flat import Flat
from .theta import Held

Room = Callable[[str, Tensor, int], Tensor]
"""Memory for a tensor at so many points, by its name: (points, *shape)."""


def displaced(p: Handle, theta: Tensor, values: Sequence[Value | None], room: Room | None = None) -> list[Tensor]:
    """The weights of one tensor at theta + v for each value, in the parameter's dtype; None: the parameter itself.

    room: where they lie; None: in new memory.
    """
    out = None if room is None else room(p.name, p.raw, len(values))
    if any(isinstance(v, Fused) for v in values):
        if out is None:
            out = torch.empty((len(values), *p.shape), dtype=p.param.dtype, device=p.param.device)
        if several(theta, [v if isinstance(v, Fused) else None for v in values], out):
            return list(out)

    def at(i: int, v: Value) -> Tensor:
        return plus(p, theta, v, torch.empty_like(p.raw) if out is None else out[i])

    return [p.raw if v is None else at(i, v) for i, v in enumerate(values)]


class Pair(Flat):
    """Restore is exact and free; a copy of the scope is needed for every point of a call (`most` at a time).

    An objective that has `many(points)`, each point a mapping name -> weights, evaluates them together: zobench's in
    one forward, side by side, if it is `batched`. A plain closure is called once a point with the parameters' data
    exchanged for the copies.
    """

    name: ClassVar[str] = "pair"
    restores: ClassVar[tuple[str, ...]] = ("exact",)
    together: ClassVar[bool] = True
    replaces_weights: ClassVar[bool] = True

    def __init__(self, restore: str = "exact", precision: str = "native", most: int = 16) -> None:
        super().__init__(restore, precision)
        self.held: Held = Held(precision == "float32")
        self.most = most

    def losses(self, closure: Closure | None, points: Sequence[Direction]) -> list[Tensor]:
        self.stamps.check()
        out: list[Tensor] = []
        if closure is None:
            return out
        self.drawn.look(points)
        for i in range(0, len(points), self.most):
            with self.timers.part("perturb"):
                copies = self._copies(points[i : i + self.most], getattr(closure, "room", None))
            with self.timers.part("forward"):
                many: Any = getattr(closure, "many", None)
                out += list(many(copies)) if many is not None else self._exchanged(closure, copies)
        if points:
            self.stamps.take(points[-1], self.handles)  # nothing is displaced, but a fault must show on every engine
        return out

    def _copies(self, points: Sequence[Direction], room: Room | None) -> list[dict[str, Tensor]]:
        """The weights at each point, of the tensors that some point displaces."""
        copies: list[dict[str, Tensor]] = [{} for _ in points]
        plan = Plan(*points, drawn=self.drawn, fuse=uncomputed(self.drawn, sole=len(points) == 1))
        self.sweeps += 1
        for p in self.handles:
            values = plan.on(p)
            if any(v is not None for v in values):
                for c, weights in zip(copies, displaced(p, self.held.theta(p), values, room), strict=True):
                    c[p.name] = weights
        return copies

    def _exchanged(self, closure: Closure, copies: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        """The closure at each of the copies, shown through the parameters."""
        out: list[Tensor] = []
        kept: list[tuple[Handle, Tensor]] = [(p, p.raw) for p in self.handles if p.name in copies[0]]
        try:
            for c in copies:
                for p, _ in kept:
                    p.param.data = c[p.name]
                out.append(closure())
        finally:
            for p, theta in kept:
                p.param.data = theta
        return out

    def settle(self) -> None:
        self.stamps.check()
        self.stamps.clear()
        self.held.refresh(self.handles)
