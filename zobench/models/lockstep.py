"""Points in lock-step: one forward passes over a batch once a point, side by side, module by module.

A module that owns weights of the scope runs on each point's part of its input with that point's weights, which need not
exist before it runs or after. All others run on the parts together, as on a larger batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ZobenchError
from ..forwards import READS_WITHIN, replaced

Weights = Callable[[str], Sequence[Tensor]]
ELSE = "use another engine (engine=flat), or an Objective with batched=False"


@contextmanager
def lockstep(model: nn.Module, parameters: Mapping[str, Tensor], points: int, weights: Weights) -> Iterator[None]:
    """Inside, a forward of the model over `points` copies of a batch, one after the other along the first axis, runs
    each copy with its own weights: `weights(name)`, one tensor a point, asked for whenever an owner of it runs.

    ZobenchError for a model in which an owner of such weights lies inside another; in the forward, for one that is
    given something else than the parts of the copies in order, such as the tokens that were chosen for an expert; and
    at the end, for one that did not run, as another may have read its weights, which nobody displaced.
    """
    shape = _Shape(points)
    found = _owners(model, parameters)
    idle = {id(module): min(own) for module, own in found}
    hook = model.register_forward_pre_hook(shape.see, with_kwargs=True, prepend=True)
    try:
        with replaced({module: _side_by_side(module, own, shape, weights, idle) for module, own in found}):
            yield
        if shape.seen and idle:
            raise ZobenchError(f"the module that owns {min(idle.values())} did not run, and others may read it: {ELSE}")
    finally:
        hook.remove()


class _Shape:
    """Tells tensors that consist of one part per point by their first axis.

    The first axis counts rows, or rows times positions; tensors with three axes or more may also have one entry per
    point: states at the positions that are read, (points, positions, channels).
    """

    def __init__(self, points: int) -> None:
        self.points = points
        self._sizes: tuple[int, ...] = ()
        self.seen = False
        """Whether the model was called."""

    def see(self, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """What the model is called on: its first tensor is the batch, (rows, length, ...)."""
        batch = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        self._sizes = (batch.shape[0], batch.shape[:2].numel())
        self.seen = True

    def split(self, x: Any) -> bool:
        """Whether this is a tensor of parts."""
        if not isinstance(x, Tensor) or not x.ndim:
            return False
        return x.shape[0] in self._sizes or (x.ndim >= 3 and x.shape[0] == self.points)

    def part(self, x: Any, i: int) -> Any:
        """The part of point `i`, of what is made of parts; the rest as it is."""
        return x.chunk(self.points)[i] if self.split(x) else x


def _owners(model: nn.Module, parameters: Mapping[str, Tensor]) -> list[tuple[nn.Module, dict[str, Tensor]]]:
    """The modules that have some of these parameters as their own, each with these."""
    of = {id(p): name for name, p in parameters.items()}
    found, inside, within = [], set[int](), set[int]()
    for name, module in model.named_modules():
        if id(module) in within:
            continue
        reads_within = getattr(module, READS_WITHIN, False)
        mine = module.parameters() if reads_within else module._parameters.values()
        own = {of[id(p)]: p for p in mine if p is not None and id(p) in of}
        if reads_within:
            within.update(id(m) for m in module.modules() if m is not module)
        if not own:
            continue
        if id(module) in inside:
            raise ZobenchError(f"{name} lies inside a module that has weights of the scope too: {ELSE}")
        inside.update(id(m) for m in module.modules() if m is not module)
        found.append((module, own))
    return found


def _side_by_side(
    module: nn.Module, own: Mapping[str, Tensor], shape: _Shape, weights: Weights, idle: dict[int, str]
) -> Callable[..., Any]:
    plain = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        idle.pop(id(module), None)
        if not any(map(shape.split, (*args, *kwargs.values()))):
            raise ZobenchError(f"{type(module).__name__} of {next(iter(own))} has not the batch first: {ELSE}")
        tables = {name: weights(name) for name in own}
        kept = {name: p.data for name, p in own.items()}
        out = []
        try:
            for i in range(shape.points):
                for name, p in own.items():
                    p.data = tables[name][i]
                named = {name: shape.part(x, i) for name, x in kwargs.items()}
                out.append(plain(*(shape.part(x, i) for x in args), **named))
        finally:
            for name, p in own.items():
                p.data = kept[name]
        return _joined(out, module)

    return forward


def _joined(out: list[Any], module: nn.Module) -> Any:
    if isinstance(out[0], Tensor) and out[0].ndim > 0:
        return torch.cat(out)
    if isinstance(out[0], tuple) and all(isinstance(x, Tensor) for x in out[0]):
        return tuple(torch.cat(parts) for parts in zip(*out, strict=True))
    raise ZobenchError(f"{type(module).__name__} puts out something else than tensors with the batch first: {ELSE}")
