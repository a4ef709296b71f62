"""Engines `official` and `official_fused`: MeZO's order of operations (princeton-nlp/MeZO, large_models/trainer.py).

perturb(s): p.data = p.data + (s * z) * eps for s = +1, -2, +1; update: p.data = p.data - lr * (g * z + wd * p.data);
z drawn anew in every pass, in the parameter's dtype, every product and sum rounded to it, new storage each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..directions.algebra import ZERO, Direction
from ..directions.handle import Handle
from ..directions.noise.source import Noise
from .base import DRAWN_BYTES, Closure, Value, decays, fitted
from .flat import Flat

_SIGNS = (1.0, -1.0, 2.0, -2.0)  # factors s for which (s * z) * eps rounds as z * (s * eps)


class Official(Flat):
    """Three perturb sweeps, then the update. Coefficients are read as numbers, as there (waits for the device).

    Directions that are not pure noise are computed in float32 and added with one rounding.
    """

    name: ClassVar[str] = "official"
    restores: ClassVar[tuple[str, ...]] = ("arithmetic",)
    precisions: ClassVar[tuple[str, ...]] = ("native",)
    compiles: ClassVar[bool] = False
    captures: ClassVar[bool] = False
    replicates_rows: ClassVar[bool] = True
    prefix_cache: ClassVar[bool] = False

    def __init__(self, restore: str = "arithmetic", precision: str = "native") -> None:
        super().__init__(restore, precision)
        self.drawn_bytes = 0
        self._unit = 1.0  # eps of the present looks

    def losses(self, closure: Closure | None, points: Sequence[Direction]) -> list[Tensor]:
        out = super().losses(closure, points)
        self.settle()
        return out

    def look(self, point: Direction) -> None:
        self.stamps.check()
        point = point.numbers()
        change = point.plus(self.at, -1.0)
        if change.terms:
            if not self.at.terms:
                self._unit = abs(float(next(iter(point.terms.values())))) or 1.0

            def act(p: Handle, values: list[Value | None]) -> None:
                v = self._drawn(change, p, self._unit)
                if v is not None:
                    self._add(p, fitted(p, v))

            def undo(p: Handle, values: list[Value | None]) -> None:
                v = self._drawn(change, p, self._unit)
                if v is not None:
                    self._add(p, fitted(p, -v))

            self.sweep(lambda group: (), act, undo)
        self.at = point
        self.stamps.take(point, self.handles)

    def descend(self, grad: Direction) -> None:
        self.settle()
        grad = grad.numbers()

        def updated(p: Handle, sign: float) -> None:
            v = self._drawn(grad, p, None)
            if v is None:
                return
            if decays(p):
                v = self._decayed(p, v)
            if p.mask is not None:
                v = torch.where(p.mask, v, 0.0)
            self._subtract(p, sign * float(p.group["lr"]), v)

        def act(p: Handle, values: list[Value | None]) -> None:
            updated(p, 1.0)

        def undo(p: Handle, values: list[Value | None]) -> None:
            updated(p, -1.0)

        with self.timers.part("update"):
            self.sweep(lambda group: (), act, undo)
        self.at = ZERO

    def move(self, delta: Direction) -> None:
        self.settle()
        with self.timers.part("update"):
            self.look(delta)
            self.at = ZERO

    def _add(self, p: Handle, v: Tensor) -> None:
        p.param.data = (p.raw + v).to(p.param.dtype)

    def _decayed(self, p: Handle, v: Tensor) -> Tensor:
        return v + float(p.group["weight_decay"]) * p.raw

    def _subtract(self, p: Handle, rate: float, v: Tensor) -> None:
        p.param.data = (p.raw - rate * v).to(p.param.dtype)

    def _noise(self, n: Noise, p: Handle) -> Tensor | None:
        return n.draw(p)

    def _term(self, z: Tensor, c: float, unit: float | None) -> Tensor:
        return (c / unit * z) * unit if unit is not None and c / unit in _SIGNS else c * z

    def _drawn(self, d: Direction, p: Handle, unit: float | None) -> Tensor | None:
        """`d` on one tensor. Pure noise: (s * z) * unit, in the parameter's dtype."""
        if not d.linear():
            return d.on(p)
        out: Tensor | None = None
        for n, c in d.terms.items():
            assert isinstance(n, Noise) and not isinstance(c, Tensor)
            z = self._noise(n, p)
            if z is None:
                continue
            term = self._term(z.to(p.param.dtype), c, unit)
            out = term if out is None else out + term
        return out


class OfficialFused(Official):
    """The same bits with fewer bytes: in place, a product less a pass, and on a CPU a step's noise drawn once.

    (s * z) * eps is z * (s * eps), as doubling is exact; a decay of 0 adds nothing.
    """

    name: ClassVar[str] = "official_fused"
    replicates_rows: ClassVar[bool] = False
    prefix_cache: ClassVar[bool] = True

    def __init__(self, restore: str = "arithmetic", precision: str = "native") -> None:
        super().__init__(restore, precision)
        self.drawn_bytes = DRAWN_BYTES

    def _add(self, p: Handle, v: Tensor) -> None:
        p.raw.add_(v)

    def _decayed(self, p: Handle, v: Tensor) -> Tensor:
        return super()._decayed(p, v) if p.group["weight_decay"] else v

    def _subtract(self, p: Handle, rate: float, v: Tensor) -> None:
        p.raw.sub_(v * rate)

    def _noise(self, n: Noise, p: Handle) -> Tensor | None:
        return self.drawn.value(n, p, lambda node, handle: None)

    def _term(self, z: Tensor, c: float, unit: float | None) -> Tensor:
        return z * c
