"""The vocabulary: the methods that an estimator's `iterate` is written with."""

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
from ..directions.noise.source import KINDS, RECALLED, Noise, NoiseSource, mix
from ..directions.shapes import Shapes, Space
from ..engine.base import Engine
from ..errors import ZobenchError, unknown
from ..scopes.scope import Scope
from ..timers import Timers
from .families import Directions, Draws

Where = Callable[[Handle], bool]
ShapeOf = Callable[[Handle], tuple[int, ...]]


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

    def noise(
        self,
        kind: str = "gaussian",
        *,
        shape: ShapeOf | None = None,
        on: Where | None = None,
        every: int = 0,
        ago: int = 0,
        label: str = "",
    ) -> Direction:
        """A new seeded direction: gaussian N(0, 1) or rademacher +-1 entries.

        Plain, without shape, every and label, it is what the method looks along: a direction of the family that the
        user chose, if one was (zobench.Directions). Noise for anything else, such as a mask, is given a label.

        shape: its shape on each tensor, if not the tensor's. on: the tensors where it has a value. every=k: the same
        draw for k steps, held under `label` (once a step for each label: TypeError otherwise). ago=k: the first draw
        of the step k before, again, on those tensors that moved in it (ValueError where there is none so far back).
        """
        if kind not in KINDS:
            raise ValueError(unknown("noise kind", kind, KINDS))
        if self._family is not None and shape is None and not every and not label:
            return self._along(on, ago)
        label = label or "z"
        if every:
            if label in self._held_labels:
                raise TypeError(f"two draws are held under the label {label!r} in one step: give each its own label=")
            self._held_labels.add(label)
            self.engine.drawn.recalls = True
            seed = mix(self.seed, "held", label, self.t // every)
        elif ago:
            self.engine.drawn.recalls = True
            then = self._moved(ago)
            seed = self.source.step_seed(self.t - ago)
            if any(p.name not in then for p in self.active):
                there, on = on, lambda p: p.name in then and (there is None or there(p))
        else:
            seed = self._next_seed()
        shapes = self._shapes_on(shape, on)
        return Direction({Noise(seed, kind, self.source, shapes, label): 1.0}, shapes)

    def _along(self, on: Where | None, ago: int) -> Direction:
        """A direction of the family that was chosen; ago=k: the first one of the step k before, again."""
        family = self._family
        assert family is not None
        if ago and not family.recalled:
            raise ZobenchError(
                f"{type(self).__name__} needs the directions of earlier steps, which {type(family).__name__} "
                "cannot draw again; choose other directions"
            )
        if ago:
            then = self._moved(ago)
            there, on = on, lambda p: p.name in then and (there is None or there(p))
        self._keep(_asked_family=True)
        return family.draw(Draws(self, on, ago))

    # ---- for families

    def _next_seed(self) -> int:
        """The seed of the step's next new draw."""
        self._keep(_drawn=self._drawn + 1)
        return self._step_seed if self._drawn == 1 else mix(self._step_seed, self._drawn)

    def _shapes_on(self, shape: ShapeOf | None, on: Where | None) -> Shapes:
        """The shapes of a draw on the step's tensors."""
        confined = self._confined
        if shape is None and on is None and confined is None:
            return self.space.full
        chosen = (p for p in self.active if (on is None or on(p)) and (confined is None or p.name in confined))
        return self.space.make({p.name: tuple(shape(p) if shape else p.shape) for p in chosen})

    def _claim(self, label: str) -> None:
        """A family holds a draw under this label; TypeError where the method itself does in the same step."""
        mark = f"directions.{label}"
        if mark not in self._held_labels and label in self._held_labels:
            raise TypeError(
                f"the directions hold a draw under {label!r}, and so does {type(self).__name__}: rename its"
            )
        self._held_labels.update((mark, label))

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gives the first time in a step."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _losses_of_step(self) -> Any:
        """The losses of the batch of the step under way."""
        if self._losses is None:
            raise ZobenchError(f"{type(self).__name__}: there are losses within a step only")
        return self._losses

    def _moved(self, ago: int) -> set[str]:
        """Names of the tensors that moved in the step so long before; errors where its draws cannot be had again."""
        if not 0 < ago <= min(self.t, RECALLED):
            raise ValueError(f"noise(ago={ago}) in step {self.t}: from 1 to {min(self.t, RECALLED)} steps back")
        was, on = self.scope.active(self.t - ago), self.scope.active(self.t)
        then = {p.name for p in self.handles if was(p.name)}
        if not self.source.apart and then != {p.name for p in self.handles if on(p.name)}:
            raise ZobenchError(
                f"{type(self).__name__} needs the draws of earlier steps, which {self.source.name} noise cannot give "
                "again under a scope that changes over the steps: use noise per_tensor"
            )
        return then

    def confine(self, weights: Mapping[str, float]) -> None:
        """For the rest of the step, restrict noise to these tensors and multiply their moves by these weights.

        For a method that wraps another one's step. weights: by name of the tensor.
        """
        self._keep(_confined=dict(weights))

    def generator(self, label: str, *, every: int = 1) -> torch.Generator:
        """A CPU generator for random choices that are no directions, such as which block to train.

        Its stream depends on (seed, label, t // every) alone: it is the same after an interruption and in a replay, and
        using it changes no direction. every=k: the same stream in each of k steps.
        """
        return torch.Generator().manual_seed(mix(self.seed, "choice", label, self.t // every))

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
