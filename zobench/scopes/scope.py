"""Scopes: the parameters that may move, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..directions.handle import Handle
from ..errors import ZobenchError


class Scope:
    """Named parameters that may move: each whole or with a mask, all at every step.

    A schedule is a subclass that overrides `active` or `mask` as a pure function of the step (replay and resume ask
    again). Parameters are moved whatever their `requires_grad`.

    Args:
        named: (name, parameter) pairs in `named_parameters()` order; the official noise stream follows it.
        masks: name -> tensor of the parameter's shape, bool or 0/1: True where entries may move. Unnamed: whole.
        layers: indices of the decoder blocks touched, 0-based; a fact for the record.

    Raises ZobenchError for an empty scope, a name met twice, a mask of no parameter, of a wrong shape or not 0/1.
    """

    def __init__(
        self,
        named: Iterable[tuple[str, Tensor]],
        *,
        masks: Mapping[str, Tensor] | None = None,
        layers: Sequence[int] = (),
    ) -> None:
        self.named = list(named)
        self.layers = tuple(layers)
        params = dict(self.named)
        if not self.named:
            raise ZobenchError("the scope is empty: no parameter may move")
        if len(params) < len(self.named):
            twice = next(n for n, _ in self.named if [m for m, _ in self.named].count(n) > 1)
            raise ZobenchError(f"two parameters are named {twice!r}: take the names from model.named_parameters()")
        self._masks = {name: _checked(name, m, params) for name, m in (masks or {}).items()}

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """The masks it was made with, bool, by name; a tensor without one is whole."""
        return self._masks

    def active(self, step: int) -> Callable[[str], bool]:
        """A predicate over names: the tensors that may move in this step (0-based)."""
        return lambda name: True

    def mask(self, p: Handle, step: int) -> Tensor | None:
        """The entries of `p` that may move in this step: bool, shape of `p`; None: all."""
        return self._masks.get(p.name)

    def numel(self) -> int:
        """Entries that may move at all: masked ones are not counted, and schedules are not looked at."""
        return sum(int(self._masks[n].sum()) if n in self._masks else p.numel() for n, p in self.named)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.named)} tensors, {self.numel()} entries, layers={self.layers})"


def _checked(name: str, mask: Tensor, params: Mapping[str, Tensor]) -> Tensor:
    """The mask as bool on the parameter's device."""
    if name not in params:
        raise ZobenchError(f"mask for {name!r}, which is not in the scope")
    p = params[name]
    if mask.shape != p.shape:
        raise ZobenchError(f"mask of {name!r} has shape {tuple(mask.shape)}, the parameter {tuple(p.shape)}")
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise ZobenchError(f"mask of {name!r} has entries other than 0 and 1")
    return mask.to(device=p.device, dtype=torch.bool)
