"""The vocabulary: the methods that an estimator's `iterate` is written with; those that draw are in drawing.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..directions.algebra import Algebra, Direction, check_displaces
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..directions.nodes import Plan
from ..directions.noise.source import NoiseSource
from ..directions.shapes import Space
from ..engine.base import Engine
from ..scopes.scope import Scope
from ..timers import Timers
from .families import Directions, ShapeOf, Where


class Diverged(ArithmeticError):
    """A loss was not finite. Raised by `step` before any weight moved, so the weights are those before the step."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss of step {step} is {loss}")
        self.step, self.loss = step, loss

    def __reduce__(self) -> tuple[Any, ...]:
        return Diverged, (self.step, self.loss)


class Vocabulary:
    """Words over the state that an Estimator keeps.

    Attributes:
        handles: of all tensors of the scope.
        active: of those that move in this step, in order.
        t: steps done.
        param_groups: torch's.
        forwards: how many were asked for, by purpose.
        engine: what computes losses and moves weights.
        source: what draws noise.
        timers: what measures.
        space: the shapes met in this step.
        scope: which tensors move in which step.
    """

    handles: list[Handle]
    scope: Scope
    active: list[Handle]
    t: int
    seed: int
    param_groups: list[dict[str, Any]]
    forwards: Counter[str]
    engine: Engine
    source: NoiseSource
    timers: Timers
    space: Space
    check_finite: bool
    settled_outside: bool
    buffers: dict[str, Buffer]
    unclaimed: dict[str, dict[str, Tensor]]
    unchecked: list[Tensor]
    looked: Callable[[Direction], None] | None
    """Told of every point that a loss is asked at, before it is computed: for checks, which watch from outside."""
    _in_step: bool
    _step_seed: int
    _drawn: int
    _held_labels: set[str]
    _family: Directions | None
    _asked_family: bool
    _made: dict[str, Any]
    _confined: Mapping[str, float] | None
    _losses: Any

    def buffer(
        self,
        name: str,
        init: float | Callable[[Handle], Tensor] = 0.0,
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
    ) -> Buffer:
        """State per tensor, float32 or wider, allocated on first use and saved in state_dict; the same one each time.

        init: a number, or a function of the handle (which may read `p.data`). shape: if not the tensor's. on: the
        tensors that have one.
        """
        if name not in self.buffers:
            self.buffers[name] = Buffer(name, self, init, shape, on)
            self.buffers[name].store = self.unclaimed.pop(name, {})
        return self.buffers[name]

    def compute(self, fn: Callable[[Handle], Tensor], on: Where | None = None, name: str = "t") -> Buffer:
        """fn(p) of every tensor at theta, as a buffer of this step. This is the only way weights enter the algebra."""
        self.settle()
        with self.timers.part("update"):
            return Buffer(name, self, values={p.name: fn(p) for p in self.active if on is None or on(p)})

    def freeze(self, d: Algebra, name: str = "t") -> Buffer:
        """The present values of `d` as a buffer of this step, which may be assigned to."""
        return Buffer(name, self, values={p.name: d.lin().owned(p, v) for p, v in self.each(d)})

    def each(self, *ds: Algebra) -> Iterator[tuple[Any, ...]]:
        """`for p, a, b in self.each(d1, d2)`: one tensor at a time, computed, with the weights at theta.

        A value is None where its direction has none. Masked entries are 0; the tensor of a plain buffer is the
        buffer's own, unmasked, and may be changed in place.
        """
        self.settle()
        lines = [self.ready(d.lin()) for d in ds]
        drawn = self.engine.drawn
        plan = Plan(*lines, drawn=drawn)
        for p in self.active:
            values = [drawn.apart(p, v) for v in plan.on(p)]
            if any(v is not None for v in values):
                yield p, *(v if isinstance(d, Buffer) else _masked(p, v) for d, v in zip(ds, values, strict=True))

    def move(self, delta: Algebra) -> None:
        """Make the move theta <- theta + delta."""
        self.engine.move(self._checked(delta, "move along"))

    def descend(self, grad: Algebra) -> None:
        """Make the move theta <- theta - lr * (grad + weight_decay * theta); lr, weight_decay: the group's."""
        self.engine.descend(self._checked(grad, "descend along"))

    def descent(self, grad: Algebra) -> Direction:
        """The displacement -lr * grad, for looking at the point before moving there. Without weight decay."""
        rates = {float(g["lr"]) for g in self.param_groups}
        if len(rates) == 1:
            return grad * -rates.pop()
        values = {
            p.name: torch.full((), -float(p.group["lr"]), dtype=p.dtype, device=p.param.device) for p in self.active
        }
        return grad * Buffer("-lr", self, values=values)

    def settle(self) -> None:
        """Put the parameters at theta, as before an evaluation or a checkpoint. Methods rarely need it."""
        if not self._in_step:
            self._keep(settled_outside=True)
        self.engine.settle()

    # ---- for buffers, losses and engines

    def _keep(self, **values: Any) -> None:
        """Set what the core keeps here, which no one else may."""
        vars(self).update(values)

    def _checked(self, d: object, verb: str) -> Direction:
        """A move made ready; TypeError if it is none, ValueError for wrong shapes, Diverged for losses not finite."""
        if not isinstance(d, Algebra):
            raise TypeError(f"{type(self).__name__} can only {verb} a direction such as g * z, got {type(d).__name__}")
        check_displaces(d.lin(), self.active, verb)
        self._check_finite()
        if (weights := self._confined) is not None:
            of = self.compute(
                lambda p: torch.tensor(weights[p.name], dtype=p.dtype, device=p.param.device),
                on=lambda p: p.name in weights,
                name="weight",
            )
            d = of * d
        return self.ready(d.lin())

    def ready(self, d: Direction) -> Direction:
        """Allocate the buffers in `d` before a sweep over the weights starts: init functions may read weights."""
        for n in d.nodes():
            if isinstance(n, Buffer):
                n.allocate(self.active)
        return d

    def before_assign(self, buffer: Buffer, d: Direction) -> None:
        """What must hold before a buffer is assigned to: finite losses, allocated buffers, no displacement made of its
        values.
        """
        self._check_finite()
        self.ready(d)
        self.engine.before_write(buffer)

    def _check_finite(self) -> None:
        """Diverged if a loss seen since the last call is not finite."""
        seen = list(self.unchecked)
        self.unchecked.clear()
        if self.check_finite and seen:
            values = torch.stack([v.to(torch.float32) for v in seen])
            if not bool(values.isfinite().all()):
                raise Diverged(self.t, float(values[~values.isfinite()][0]))


def _masked(p: Handle, v: Tensor | None) -> Tensor | None:
    """`v` with 0 where the mask of `p` forbids moving."""
    return v if v is None or p.mask is None or v.shape != p.shape else torch.where(p.mask, v, 0.0)
