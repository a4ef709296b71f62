"""A handle: what estimators and engines know about one tensor that may move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _at_rest() -> None:
    """The `settle` of a handle without an estimator: nothing is displaced."""


class Handle:
    """One tensor that may move.

    Attributes:
        name: its name in the model; seeds are derived from it.
        param: the parameter itself (engines only: it may stand displaced).
        group: the optimizer's parameter group (`lr`, `weight_decay`).
        index: its position among the tensors active in this step; the official noise stream needs it.
        mask: bool, shape of the parameter, True where entries may move in this step; None: everywhere.
        master: float32 copy of theta when the engine keeps one (`precision="float32"`), else None.
    """

    __slots__ = ("__weakref__", "group", "index", "mask", "master", "name", "param", "settle")

    def __init__(
        self, name: str, param: Tensor, group: dict[str, Any], index: int = 0, settle: Callable[[], None] = _at_rest
    ) -> None:
        self.name, self.param, self.group, self.index = name, param, group, index
        self.mask: Tensor | None = None
        self.master: Tensor | None = None
        self.settle = settle

    @property
    def shape(self) -> torch.Size:
        """Shape of the parameter."""
        return self.param.shape

    @property
    def ndim(self) -> int:
        """Number of axes of the parameter."""
        return self.param.ndim

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all arithmetic on this tensor: the parameter's own, but float32 at least."""
        return torch.promote_types(self.param.dtype, torch.float32)

    @property
    def data(self) -> Tensor:
        """Theta of this tensor, for reading. The engine puts theta into the parameter first. Dtype: the parameter's, or
        float32 if the engine keeps a master copy.
        """
        self.settle()
        return self.param.data if self.master is None else self.master

    @property
    def raw(self) -> Tensor:
        """The parameter's storage as it stands, perhaps displaced. For engines."""
        return self.param.data

    def __repr__(self) -> str:
        return f"{self.name} {tuple(self.shape)}"


def matrices(p: Handle) -> bool:
    """True for tensors with two axes: `noise(on=matrices)`."""
    return p.ndim == 2


def vectors(p: Handle) -> bool:
    """True for tensors that do not have two axes: `noise(on=vectors)`."""
    return p.ndim != 2
