"""The objective: the loss of a batch at the present weights, and what engines and methods may ask of it beyond that."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ZobenchError
from ..models.graphs import Replayable
from ..models.lockstep import lockstep
from .tiled import Loss, tiled

Picked: TypeAlias = Callable[[nn.Module, Tensor], Tensor]
"""Of a linear layer and what enters it, (..., in_features): rows of that, (n, in_features)."""


class Objective:
    """A closure for `Estimator.step` that offers more than a plain one.

    Args:
        model: its parameters are the weights.
        loss: `loss(forward, batch)` -> 0-dim tensor, by calls of `forward`, which behaves like calling the model.
        batch: given to `loss` as it is.
        extra: further batches of training data, for `fresh`; an Objective among them is taken as it is.
        batched: `many` runs all points in one forward, side by side (zobench.models.lockstep); False: one after the
            other (bit-equal to plain calls).
        entering: makes of a batch what picks, of a linear layer and what enters it, (..., in_features), the rows that
            `with_inputs` shows; None: it shows all.
        replayable: makes of a batch its loss as a CUDA graph gives it (zobench.models.graphs), for plain calls and
            `many`; None, or None of a batch: they compute.
        examples: the batches of one example each that a batch is made of, for methods that look at each alone: a
            function of the batch; or one of no argument, which then knows `batch` alone, not those of `fresh`.

    `fresh` and `examples` give objectives that offer all that this one does.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batch: Any,
        extra: Iterator[Any] | None = None,
        batched: bool = True,
        entering: Callable[[Any], Picked] | None = None,
        examples: Callable[..., Sequence[Any]] | None = None,
        replayable: Callable[[Any], Replayable | None] | None = None,
    ) -> None:
        self.model, self.loss, self.batch, self.extra, self.batched = model, loss, batch, extra, batched
        self.entering, self._examples, self.replayable = entering, examples, replayable
        self._replayed: tuple[Any, Replayable | None] = None, None

    def __call__(self) -> Tensor:
        """The loss at the present weights, without a graph."""
        with torch.no_grad():
            known = self._as_a_graph()
            if known is None:
                return self.loss(self.model, self.batch)
            return known.graphs.value((known.key, 1), known.inputs, partial(known.loss, self.model))

    def _as_a_graph(self) -> Replayable | None:
        """The loss of this batch as a CUDA graph gives it: made once, so that its inputs are sent once a batch."""
        batch, made = self._replayed
        if self.replayable is not None and (made is None or batch is not self.batch):
            made = self.replayable(self.batch)
            self._replayed = self.batch, made
        return made

    @property
    def room(self) -> Callable[[str, Tensor, int], Tensor] | None:
        """Where weights at points must lie, which `many` is given (see zobench.models.graphs); None: anywhere."""
        known = self._as_a_graph()
        return None if known is None or not self.batched else known.graphs.room

    def at(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The loss with these weights in the place of the model's own, by name; the others as they stand."""
        return self.loss(lambda *a, **k: functional_call(self.model, dict(weights), a, k), self.batch)

    def many(self, points: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """The losses at several weights (all with the same names), in one evaluation if `batched`."""
        self._check_names(points[0])
        with torch.no_grad():
            if not self.batched or len(points) == 1 or not points[0]:
                return [self.at(w) for w in points]
            known = self._as_a_graph()
            if known is None:
                return self._side_by_side(points, self.loss, self.batch)

            stacked = partial(self._stacked, points, known.loss)
            return list(known.graphs.value((known.key, len(points)), known.inputs, stacked, points).unbind())

    def _stacked(self, points: Sequence[Mapping[str, Tensor]], loss: Loss, given: Any) -> Tensor:
        return torch.stack(self._side_by_side(points, loss, given))

    def _side_by_side(self, points: Sequence[Mapping[str, Tensor]], loss: Loss, given: Any) -> list[Tensor]:
        """The losses `loss(forward, given)` at several weights, in one forward."""
        parameters = {name: p for name, p in self.model.named_parameters() if name in points[0]}
        with lockstep(self.model, parameters, len(points), lambda name: [w[name] for w in points]):
            return tiled(self.model, len(points), loss, given)

    def tiled(self, copies: int) -> list[Tensor]:
        """The losses of so many copies of the batch, in one forward of the model over all of them, side by side along
        the first axis: for engines that give each copy weights of its own (see zobench.models.lockstep).

        ZobenchError for a loss that calls the model more than once, or reads more than its logits.
        """
        with torch.no_grad():
            return tiled(self.model, copies, self.loss, self.batch)

    def with_inputs(self, names: Sequence[str], see: Callable[[str, Tensor], None]) -> Tensor:
        """The loss, after see(name, x) for each name that is the weight of a linear layer; x: (rows, in_features),
        those that `entering` picks.
        """
        owner = {f"{n}.weight".lstrip("."): m for n, m in self.model.named_modules() if isinstance(m, nn.Linear)}
        picked = _flat if self.entering is None else self.entering(self.batch)
        hooks = [owner[n].register_forward_pre_hook(_seer(n, see, picked)) for n in names if n in owner]
        try:
            with torch.no_grad():
                return self.loss(self.model, self.batch)
        finally:
            for h in hooks:
                h.remove()

    def gradient(self, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its gradient for these parameters, in their dtype, by one backward pass.

        Zeros where the loss does not depend on a parameter. requires_grad and .grad of the model are left alone.
        ZobenchError for a loss that has no gradient at all, such as a score of generated text.
        """
        params = dict(self.model.named_parameters())
        self._check_names(dict.fromkeys(names, torch.empty(0)))
        leaves = {n: params[n].detach().requires_grad_() for n in names}
        with torch.enable_grad():
            loss = self.at(leaves)
            if not loss.requires_grad:
                raise ZobenchError("this loss has no gradient: choose an estimator that needs none, or another loss")
            grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True, allow_unused=True)
        return loss.detach(), dict(zip(names, grads, strict=True))

    def jvp(self, tangents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss and its derivative along the tangents (name -> tensor of the parameter's shape and dtype).

        ZobenchError for a loss that has no derivative at all, such as a score of generated text.
        """
        self._check_names(tangents)
        params = {n: p.detach() for n, p in self.model.named_parameters() if n in tangents}
        with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no forward-mode derivative
            out: tuple[Tensor, Tensor] = jvp(self._dual, (params,), ({n: tangents[n] for n in params},))  # type: ignore[assignment]
        return out

    def _dual(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The loss at dual weights; a loss that carries no tangent would be taken for one that is flat."""
        loss = self.at(weights)
        if unpack_dual(loss).tangent is None:  # type: ignore[no-untyped-call]
            raise ZobenchError("this loss has no derivative: choose an estimator that needs none, or another loss")
        return loss

    def linear(self) -> tuple[Tensor, Objective]:
        """The loss, and an objective that is its change as far as it is linear in what the model puts out.

        That objective is sum <dL/do, o - o_0> at the weights that it is asked at: o the logits that the loss reads,
        o_0 and the derivative those at the present weights, where it is 0. Its dtype is float32 at least. One forward,
        and the derivative of the loss by its logits alone. ZobenchError for a loss that has none.
        """
        outputs: list[Tensor] = []

        def forward(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad():
                out = self.model(*args, **kwargs)
            outputs.append(_logits(out).detach().requires_grad_())
            return outputs[-1] if isinstance(out, Tensor) else SimpleNamespace(logits=outputs[-1])

        with torch.enable_grad():
            loss = self.loss(forward, self.batch)
            if not loss.requires_grad:
                raise ZobenchError("this loss has no gradient: choose an estimator that needs none, or another loss")
            slopes = torch.autograd.grad(loss, outputs, materialize_grads=True, allow_unused=True)
        other = copy.copy(self)
        other.loss = partial(_linear, self.loss, [o.detach() for o in outputs], slopes)
        other.replayable, other._replayed = None, (None, None)
        return loss.detach(), other

    def fresh(self) -> Objective:
        """The same objective on a further batch. RuntimeError if there is no source of them."""
        if self.extra is None:
            raise RuntimeError("this objective has no further batches: Objective(..., extra=iterator)")
        try:
            further = next(self.extra)
        except StopIteration:
            raise RuntimeError("the source of further batches is at its end: Objective(..., extra=iterator)") from None
        return further if isinstance(further, Objective) else self._on(further, self._any_examples())

    def examples(self) -> list[Objective]:
        """The same objective on each example of the batch alone. RuntimeError if they were not given."""
        if self._examples is None:
            raise RuntimeError("this objective cannot be split: Objective(..., examples=function of a batch)")
        found = self._examples(self.batch) if _takes_one(self._examples) else self._examples()
        return [self._on(one, partial(_itself, one)) for one in found]

    def _any_examples(self) -> Callable[..., Sequence[Any]] | None:
        """What splits a further batch: a function that knows the examples of this one alone does not."""
        return self._examples if self._examples is not None and _takes_one(self._examples) else None

    def _on(self, batch: Any, examples: Callable[..., Sequence[Any]] | None) -> Self:
        """All of this objective on another batch."""
        other = copy.copy(self)
        other.batch, other._examples = batch, examples
        return other

    def _check_names(self, weights: Mapping[str, Tensor]) -> None:
        unknown = set(weights) - {n for n, _ in self.model.named_parameters()}
        if unknown:
            raise KeyError(f"the model has no parameter {min(unknown)!r}: give the estimator model.named_parameters()")


def _logits(out: Any) -> Tensor:
    """What a model puts out, where it is more than a tensor its logits."""
    logits: Tensor = out if isinstance(out, Tensor) else out.logits
    return logits


def _linear(
    loss: Loss,
    outputs: Sequence[Tensor],
    slopes: Sequence[Tensor],
    forward: Callable[..., Any],
    batch: Any,
) -> Tensor:
    """A loss that is linear in the outputs of `forward`: sum <slope, o - output> over its calls."""
    seen: list[Tensor] = []

    def noting(*args: Any, **kwargs: Any) -> Any:
        out = forward(*args, **kwargs)
        seen.append(_logits(out).detach())
        return out

    loss(noting, batch)
    pairs = zip(seen, outputs, slopes, strict=True)
    return torch.stack(
        [((o - start).float() if o.dtype.itemsize < 4 else o - start).mul(s).sum() for o, start, s in pairs]
    ).sum()


def _itself(one: Any) -> list[Any]:
    """The examples of a batch of one."""
    return [one]


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether a batch can, and must, be given to it."""
    of = inspect.signature(function).parameters.values()
    places = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return any(p.kind in places and p.default is p.empty for p in of)


def _flat(layer: nn.Module, x: Tensor) -> Tensor:
    """All rows of what enters a layer."""
    return x.reshape(-1, x.shape[-1])


def _seer(
    name: str, see: Callable[[str, Tensor], None], picked: Picked
) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        see(name, picked(module, args[0]))

    return hook
