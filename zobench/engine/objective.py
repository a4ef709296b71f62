"""The objective: the loss of a batch at the present weights, and what engines and methods may ask of it beyond that."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ZobenchError
from ..models.lockstep import lockstep


class Objective:
    """A closure for `Estimator.step` that offers more than a plain one.

    Args:
        model: its parameters are the weights.
        loss: `loss(forward, batch)` -> 0-dim tensor, where `forward(...)` behaves like calling the model.
        batch: given to `loss` as it is.
        extra: further batches of training data, for `fresh`; an Objective among them is taken as it is.
        batched: `many` runs all points in one forward, side by side (zobench.models.lockstep); False: one after the
            other (bit-equal to plain calls).
        replicate: makes of a batch that holds once what rows have in common the one with every row complete, which
            `with_inputs` passes over.
        examples: the batches of one example each that a batch is made of, for methods that look at each alone: a
            function of the batch; or one of no argument, which then knows `batch` alone, not those of `fresh`.

    `fresh` and `examples` give objectives that offer all that this one does.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Callable[..., Any], Any], Tensor],
        batch: Any,
        extra: Iterator[Any] | None = None,
        batched: bool = True,
        replicate: Callable[[Any], Any] | None = None,
        examples: Callable[..., Sequence[Any]] | None = None,
    ) -> None:
        self.model, self.loss, self.batch, self.extra, self.batched = model, loss, batch, extra, batched
        self.replicate, self._examples = replicate, examples

    def __call__(self) -> Tensor:
        """The loss at the present weights, without a graph."""
        with torch.no_grad():
            return self.loss(self.model, self.batch)

    def at(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The loss with these weights in the place of the model's own, by name; the others as they stand."""
        return self.loss(lambda *a, **k: functional_call(self.model, dict(weights), a, k), self.batch)

    def many(self, points: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
        """The losses at several weights (all with the same names), in one evaluation if `batched`."""
        self._check_names(points[0])
        with torch.no_grad():
            if not self.batched or len(points) == 1 or not points[0]:
                return [self.at(w) for w in points]
            parameters = {name: p for name, p in self.model.named_parameters() if name in points[0]}
            with lockstep(self.model, parameters, len(points), lambda name: [w[name] for w in points]):
                return self.tiled(len(points))

    def tiled(self, copies: int) -> list[Tensor]:
        """The losses of so many copies of the batch, in one forward of the model over all of them, side by side along
        the first axis: for engines that give each copy weights of its own (see zobench.models.lockstep).

        ZobenchError for a loss that calls the model more than once, or reads more than its logits.
        """
        forward = _Tiled(self.model, copies)
        with torch.no_grad():
            return [self.loss(forward.of(i), self.batch) for i in range(copies)]

    def with_inputs(self, names: Sequence[str], see: Callable[[str, Tensor], None]) -> Tensor:
        """The loss, after see(name, x) for each name that is the weight of a linear layer; x: (rows, in_features)."""
        owner = {f"{n}.weight".lstrip("."): m for n, m in self.model.named_modules() if isinstance(m, nn.Linear)}
        hooks = [owner[n].register_forward_pre_hook(_seer(n, see)) for n in names if n in owner]
        try:
            with torch.no_grad():
                return self.loss(self.model, self.batch if self.replicate is None else self.replicate(self.batch))
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
    loss: Callable[[Callable[..., Any], Any], Tensor],
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


class _Tiled:
    """A model called once, on as many copies of what it is given, and what it puts out for each of them."""

    def __init__(self, model: nn.Module, copies: int) -> None:
        self.model, self.copies = model, copies
        self._logits: Sequence[Tensor] = ()
        self._plain = False

    def of(self, copy: int) -> Callable[..., Any]:
        """The forward of one copy: the first that is called calls the model, for all."""
        left = iter(range(1))

        def forward(*args: Any, **kwargs: Any) -> Any:
            if next(left, None) is None:
                raise ZobenchError("this loss calls the model more than once, which cannot be tiled: use engine=flat")
            if not self._logits:
                self._call(args, kwargs)
            part = self._logits[copy]
            return part if self._plain else SimpleNamespace(logits=part)

        return forward

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        out = self.model(*map(self._tile, args), **{name: self._tile(x) for name, x in kwargs.items()})
        self._plain = isinstance(out, Tensor)
        logits = out if self._plain else out.logits
        self._logits = logits.chunk(self.copies)

    def _tile(self, x: Any) -> Any:
        return x.repeat(self.copies, *[1] * (x.ndim - 1)) if isinstance(x, Tensor) and x.ndim else x


def _seer(name: str, see: Callable[[str, Tensor], None]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        see(name, args[0].reshape(-1, args[0].shape[-1]))

    return hook
