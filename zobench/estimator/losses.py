"""What a step may ask of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..directions.algebra import ZERO, Algebra, Direction, check_displaces
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..errors import ZobenchError
from .log import StepLog

if TYPE_CHECKING:
    from .vocabulary import Vocabulary


class Losses:
    """Losses of the step's batch at points near theta, each a 0-dim tensor in the dtype of the objective.

    Every loss is counted in `estimator.forwards` and logged; in a replay it is read from the log instead.
    """

    def __init__(
        self,
        estimator: Vocabulary,
        objective: Callable[[], Tensor] | None,
        logged: StepLog,
        tape: Iterator[Tensor] | None,
        kind: str = "train",
    ) -> None:
        self._estimator, self._objective, self._logged = estimator, objective, logged
        self._tape, self._kind = tape, kind  # kind: under which name forwards are counted; empty: they are not

    def __call__(self, *points: Algebra | int) -> tuple[Tensor, ...]:
        """The losses at theta + point, one forward each; 0 is theta itself.

        They are asked for together on purpose: an engine may evaluate them in one forward. ValueError if a point
        does not have the shapes of the scope.
        """
        est = self._estimator
        looks: list[Direction] = []
        for x in points:
            if not isinstance(x, Algebra) and not (isinstance(x, int | float) and x == 0):
                raise TypeError(f"losses() takes displacements such as eps * z, or 0; got {type(x).__name__}")
            d = x.lin() if isinstance(x, Algebra) else ZERO
            check_displaces(d, est.active, "look along")
            if est.looked is not None:
                est.looked(d)
            looks.append(est.ready(d))
        values = est.engine.losses(self._objective, looks)
        whole: Callable[[list[Tensor]], list[Tensor]] | None = getattr(self._objective, "whole", None)
        if whole is not None and values:  # each process looked with a part of the batch
            values = whole(values)
        return tuple(self._seen(values, len(looks)))

    def seen(self) -> list[Tensor]:
        """The losses that the step has seen so far, in order, each 0-dim."""
        return list(self._logged.seen)

    def base(self) -> Tensor:
        """The loss at theta: one forward."""
        return self(0)[0]

    def slope(self, d: Algebra, eps: float) -> Tensor:
        """(L(theta + eps d) - L(theta - eps d)) / (2 eps), in the losses' dtype: two forwards (SPSA; MeZO, alg. 1)."""
        plus, minus = self(+eps * d, -eps * d)
        return (plus - minus) / (2 * eps)

    def with_inputs(self, fn: Callable[[Handle, Tensor], Tensor]) -> tuple[Tensor, Buffer]:
        """The loss at theta, and a buffer of fn(p, x) for each active weight p of a linear layer: one forward.

        x: the inputs of that layer in this forward, shape (rows, in_features), dtype of the activations; of a task's
        batch those of the tokens that the loss depends on, in the order of its rows (zobench.tasks.entering). The
        objective must offer `with_inputs` (zobench.Objective does). Such a step cannot be replayed from scalars.
        """
        est, offer = self._estimator, self._offer("with_inputs")
        est.engine.settle()
        self._logged.wide = True
        by, values = {p.name: p for p in est.active}, {}

        def see(name: str, x: Tensor) -> None:
            values[name] = fn(by[name], x).to(by[name].dtype)

        with est.timers.part("forward"):
            loss = offer(list(by), see)
        return self._seen([loss], 1)[0], Buffer("inputs", est, values=values)

    def gradient(self) -> tuple[Tensor, Buffer]:
        """The loss at theta and its true gradient, float32 or wider, by one backward pass (first-order reference).

        Counted as one forward and one of `forwards["backward"]`. Such a step cannot be replayed from scalars.
        """
        est, offer = self._estimator, self._offer("gradient")
        est.engine.settle()
        self._logged.wide = True
        with est.timers.part("forward"):
            loss, grads = offer([p.name for p in est.active])
        est.forwards["backward"] += 1
        values = {p.name: grads[p.name].to(p.dtype) for p in est.active}
        return self._seen([loss], 1)[0], Buffer("gradient", est, values=values)

    def jvp(self, d: Algebra) -> tuple[Tensor, Tensor]:
        """The loss at theta and its exact derivative along `d` (forward-mode; counted as two forwards)."""
        est = self._estimator
        check_displaces(d.lin(), est.active, "differentiate along")
        est.engine.settle()
        if self._tape is not None:
            loss, slope = self._seen([], 2)
            return loss, slope
        offer = self._offer("jvp")
        tangents = {p.name: v.expand(p.shape).to(p.param.dtype) for p, v in est.each(d)}
        with est.timers.part("forward"):
            found = offer(tangents)
        loss, slope = self._seen(list(found), 2)
        return loss, slope

    def linear(self) -> tuple[Tensor, Losses]:
        """The loss at theta, and losses that are its change as far as it is linear in what the model puts out.

        At a point the latter are sum <dL/do, o(theta + point) - o(theta)>, o the logits that the loss reads.
        Counted as one forward, and one for each point. The objective must offer `linear` (zobench.Objective does).
        """
        est = self._estimator
        est.engine.settle()
        if self._tape is not None:
            return self._seen([], 1)[0], Losses(est, None, self._logged, self._tape, self._kind)
        offer = self._offer("linear")
        with est.timers.part("forward"):
            loss, objective = offer()
        return self._seen([loss], 1)[0], Losses(est, objective, self._logged, None, self._kind)

    def fresh(self) -> Losses:
        """The same interface on another batch of training data; its forward passes are counted as `extra`."""
        objective = None if self._tape is not None else self._offer("fresh")()
        return Losses(self._estimator, objective, self._logged, self._tape, "extra")

    def examples(self) -> list[Losses]:
        """The losses of each example of the batch by itself, in the batch's order; evaluate all of them at the same
        points.

        Their forward passes count as one of the batch, since together they pass over the batch once. The number of
        examples is logged with the losses, so `iterate` must return the loss to log. The objective must offer
        `examples`; zobench.Objective does if it was given a way to make them.
        """
        if self._tape is not None:
            found: list[Any] = [None] * int(next(self._tape))
        else:
            found = self._offer("examples")()
        self._logged.seen.append(torch.tensor(float(len(found))))
        kinds = [self._kind] + [""] * (len(found) - 1)
        return [Losses(self._estimator, o, self._logged, self._tape, k) for o, k in zip(found, kinds, strict=True)]

    def _offer(self, what: str) -> Any:
        """The method `what` of the objective; TypeError if it is a plain closure."""
        if self._tape is not None:
            raise ZobenchError(
                f"step {self._logged.step} saw more than scalars ({what}), which the log does not hold: "
                "replay from a snapshot of the weights after it"
            )
        if not hasattr(self._objective, what):
            raise TypeError(
                f"{type(self._estimator).__name__} needs objective.{what}(...), which a plain closure has not. "
                "Pass zobench.Objective(model, loss, batch)."
            )
        return getattr(self._objective, what)

    def _seen(self, values: list[Tensor], n: int) -> list[Tensor]:
        """Log and count `n` values; on a replay they come from the tape."""
        est = self._estimator
        if self._tape is not None:
            out = [v for _, v in zip(range(n), self._tape, strict=False)]
            if len(out) < n:
                raise ZobenchError(f"step {self._logged.step} asks for more losses than its log holds: another method?")
        else:
            if self._kind:
                est.forwards[self._kind] += n
            out = [_scalar(v) for v in values]
            est.unchecked.extend(out)
        self._logged.seen += out
        return out


def _scalar(value: Any) -> Tensor:
    """A loss as a 0-dim tensor of its own; TypeError if it is none."""
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor) or value.ndim:
        what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"the closure must return the loss as a 0-dim tensor, it returned {what}")
    return value.detach().clone()


def to_show(estimator: object, value: Any) -> Tensor | None:
    """The loss that `iterate` returned, 0-dim, or None. TypeError for anything else: a mistake of the method."""
    if value is None or (isinstance(value, Tensor) and not value.ndim and not value.is_complex()):
        return value
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    what = (
        f"a {value.dtype} tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    )
    raise TypeError(
        f"{type(estimator).__name__}.iterate returned {what}: return the loss to be shown, a 0-dim tensor, or nothing"
    )
