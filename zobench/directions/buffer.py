"""Buffers: the state of a method, one tensor per tensor of the scope."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from .algebra import Algebra, Direction
from .coefficients import frozen
from .handle import Handle
from .nodes import Drawn, Get, Node, Plan
from .shapes import Entry, Shapes, Space, fits

if TYPE_CHECKING:
    from ..timers import Timers


class DrawsApart(Protocol):
    """What has the noise of the present step: an engine."""

    @property
    def drawn(self) -> Drawn:
        """The noise that was drawn in this step."""


class Owner(Protocol):
    """What a buffer asks of the estimator that it belongs to."""

    @property
    def active(self) -> Sequence[Handle]:
        """The tensors of the present step."""

    @property
    def space(self) -> Space:
        """The shapes met on them."""

    @property
    def engine(self) -> DrawsApart:
        """What draws the noise of an expression."""

    @property
    def timers(self) -> Timers:
        """What measures."""

    def before_assign(self, buffer: Buffer, d: Direction) -> None:
        """What an `assign` of `d` waits for."""


class Buffer(Node, Algebra):
    """State per tensor, float32 or wider, an operand of the algebra; allocated on first use, saved in state_dict.

    `buffer[p]` is its tensor, which may be changed in place in a loop over handles; `assign` sets it everywhere. An
    expression sees a buffer as it is when the expression is computed. Made by `Estimator.buffer`, and by `compute`
    and `freeze` (`partial`: of one step only, defined where it has a value, not saved).
    """

    def __init__(
        self,
        name: str,
        owner: Owner,
        init: float | Callable[[Handle], Tensor] = 0.0,
        shape: Callable[[Handle], Sequence[int]] | None = None,
        on: Callable[[Handle], bool] | None = None,
        values: dict[str, Tensor] | None = None,
    ) -> None:
        self.name, self._owner = name, weakref.ref(owner)  # weak: no cycle may keep tensors alive
        self.init, self.shape_of, self.where = init, shape, None if on is None else frozen(on)
        self.store: dict[str, Tensor] = {} if values is None else values
        self.partial = values is not None
        self._shapes: Shapes | None = None

    def lin(self) -> Direction:
        return Direction({self: 1.0}, self.shapes())

    def covers(self, p: Handle) -> bool:
        """Whether the buffer has a tensor for `p`, or would allocate one on use."""
        return p.name in self.store if self.partial else self.where is None or bool(self.where(p))

    def __contains__(self, p: Handle) -> bool:
        return p.name in self.store

    def __getitem__(self, p: Handle) -> Tensor:
        """The buffer's tensor for `p`, allocated if it was not. KeyError for one of a step that has none for `p`."""
        if p.name not in self.store:
            if self.partial:
                raise KeyError(f"{self.name!r} has no value for {p.name}")
            if callable(self.init):
                self[p] = self.init(p)
            else:
                shape = tuple(p.shape if self.shape_of is None else self.shape_of(p))
                self[p] = torch.full(shape, float(self.init), dtype=p.dtype, device=p.param.device)
        return self.store[p.name]

    def __setitem__(self, p: Handle, value: Tensor) -> None:
        old = self.store.get(p.name)
        self.store[p.name] = value
        if old is None or old.shape != value.shape:
            self._shapes = None

    def value(self, p: Handle, get: Get) -> Tensor | None:
        return self[p] if self.covers(p) else None

    def storage(self, p: Handle) -> Tensor | None:
        return self.store.get(p.name)

    def allocate(self, handles: Sequence[Handle]) -> None:
        """Make the tensors of these handles now: an init function may read the weights, so not within a sweep."""
        if not self.partial and callable(self.init):
            for p in handles:
                if self.covers(p):
                    self[p]

    def assign(self, expression: Algebra) -> None:
        """Set self <- expression on every tensor of the step that the buffer covers and the expression has a value on.

        ValueError if a shape does not broadcast to the buffer's. The dtype stays the buffer's.
        """
        owner, d = self._alive(), expression.lin()
        owner.before_assign(self, d)
        self.allocate(owner.active)
        for p in owner.active:
            shape, target = None if d.shapes is None else d.shapes.of.get(p.name), self._entry(p)
            if isinstance(target, tuple) and not fits(shape, target):
                raise ValueError(
                    f"cannot assign {d!r} to {self.name!r}: on {p.name} it has shape {shape}, not {target}"
                )
        with owner.timers.part("update"):
            drawn = owner.engine.drawn
            plan = Plan(d, drawn=drawn)
            for p in owner.active:
                v = drawn.apart(p, plan.on(p)[0]) if self.partial or self.covers(p) else None
                if v is not None:
                    old = self.store.get(p.name)
                    if old is not None:
                        v = v.to(old.dtype).expand(old.shape).contiguous()
                    self[p] = d.owned(p, v)

    def load(self, values: dict[str, Tensor]) -> None:
        """Hold these tensors, by the names of their handles, instead."""
        self.store, self._shapes = values, None

    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(t.numel() * t.element_size() for t in self.store.values())

    def shapes(self) -> Shapes:
        """Its shapes on the tensors of the present step."""
        owner = self._alive()
        if self._shapes is None or self._shapes.space is not owner.space:
            self._shapes = owner.space.make({p.name: self._entry(p) for p in owner.active})
        return self._shapes

    def _entry(self, p: Handle) -> Entry:
        if p.name in self.store:
            return tuple(self.store[p.name].shape)
        if not self.covers(p):
            return None
        if self.shape_of is not None:
            return tuple(self.shape_of(p))
        return "?" if callable(self.init) else tuple(p.shape)

    def _alive(self) -> Owner:
        owner = self._owner()
        if owner is None:
            raise RuntimeError(f"the estimator that buffer {self.name!r} belongs to is gone")
        return owner

    def __repr__(self) -> str:
        return self.name
