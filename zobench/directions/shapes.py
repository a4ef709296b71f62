"""Shapes of lazy expressions, known when they are written: a wrong one fails at the line that wrote it.

An expression has a shape on every tensor of the scope. Shapes are interned, so that after the first step an
operator costs one dictionary lookup however many tensors there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch

from .handle import Handle

Shape: TypeAlias = tuple[int, ...]
Entry: TypeAlias = Shape | None | Literal["?"]
"""On one tensor: its shape, None where the expression has no value, "?" where only its values will tell."""

Rule: TypeAlias = Literal["elementwise", "sum", "matmul", "transpose", "unknown"]


class Shapes:
    """The shape of one expression on each tensor of a space, by the tensor's name. Compare with `is`."""

    __slots__ = ("of", "space")

    def __init__(self, space: Space, of: dict[str, Entry]) -> None:
        self.space, self.of = space, of


class Mismatch(ValueError):
    """Operands do not fit together: `name` says on which tensor, `entries` what shapes they have there."""

    def __init__(self, name: str, entries: Sequence[Entry]) -> None:
        self.name, self.entries = name, entries
        super().__init__(f"on {name} the shapes are {' and '.join(map(str, entries))}")


class Space:
    """The tensors of a step, and the shapes met on them."""

    def __init__(self, handles: Sequence[Handle]) -> None:
        self.names = [p.name for p in handles]
        self._interned: dict[tuple[Entry, ...], Shapes] = {}
        self._combined: dict[tuple[object, ...], Shapes] = {}
        self.full = self.make({p.name: tuple(p.shape) for p in handles})

    def make(self, of: Mapping[str, Entry]) -> Shapes:
        """The one `Shapes` of this content; tensors not named have no value."""
        key = tuple(of.get(n) for n in self.names)
        found = self._interned.get(key)
        if found is None:
            found = self._interned[key] = Shapes(self, dict(zip(self.names, key, strict=True)))
        return found

    def combine(self, rule: Rule, *parts: Shapes) -> Shapes:
        """The shapes of an operator's result. Raises Mismatch."""
        mine = [s if s.space is self else self.make(s.of) for s in parts]
        key = (rule, *map(id, mine))
        found = self._combined.get(key)
        if found is None:
            apply = RULES[rule]
            found = self.make({n: _on(n, apply, [s.of[n] for s in mine]) for n in self.names})
            self._combined[key] = found
        return found


def _on(name: str, rule: Callable[[Sequence[Entry]], Entry], entries: Sequence[Entry]) -> Entry:
    try:
        return rule(entries)
    except (RuntimeError, ValueError):
        raise Mismatch(name, entries) from None


def _joined(*shapes: Shape) -> Shape:
    """The shape they broadcast to; RuntimeError if they do not."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _broadcast(entries: Sequence[Entry]) -> Entry:
    known = [e for e in entries if isinstance(e, tuple)]
    if len(set(known)) > 1:
        known = [_joined(*known)]
    return "?" if "?" in entries else known[0] if known else None


def _elementwise(entries: Sequence[Entry]) -> Entry:
    return None if None in entries else _broadcast(entries)


def _sum(entries: Sequence[Entry]) -> Entry:
    return _broadcast([e for e in entries if e is not None])


def _matmul(entries: Sequence[Entry]) -> Entry:
    left, right = entries
    if left is None or right is None:
        return None
    if left == "?" or right == "?":
        return "?"
    if min(len(left), len(right)) < 2 or left[:-2] != right[:-2] or left[-1] != right[-2]:
        raise ValueError("inner sizes differ, or an operand is no matrix, or no stack of as many")
    return *left[:-1], right[-1]


def _transpose(entries: Sequence[Entry]) -> Entry:
    (shape,) = entries
    if not isinstance(shape, tuple):
        return shape
    if len(shape) < 2:
        raise ValueError("only a matrix, or a stack of some, has a transpose")
    return *shape[:-2], shape[-1], shape[-2]


def _unknown(entries: Sequence[Entry]) -> Entry:
    return None if None in entries else "?"


RULES: dict[Rule, Callable[[Sequence[Entry]], Entry]] = {
    "elementwise": _elementwise,
    "sum": _sum,
    "matmul": _matmul,
    "transpose": _transpose,
    "unknown": _unknown,
}


def fits(shape: Entry, into: Shape) -> bool:
    """True if a value of this shape broadcasts to exactly `into` ("?" and None are let through)."""
    if not isinstance(shape, tuple) or shape == into:
        return True
    try:
        return _joined(shape, into) == into
    except RuntimeError:
        return False
