"""The algebra of lazy directions: what an estimator writes down. Nothing is computed until an engine asks.

A `Direction` is a sum of scalar x node. Nodes are seeded noise (noise/source.py), buffers (buffer.py) and operators
on them: `+ - * / @ .T sqrt square abs sign clamp map`. There are no reductions and no comparisons: for those, loop over
`estimator.each(direction)`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .coefficients import Scalar, added, clamped, frozen, name_of, refuse, scalar, times
from .handle import Handle
from .nodes import Get, Kept, Lazy, Node, Op, Plan
from .shapes import Mismatch, Rule, Shapes, fits


class Algebra:
    """Operators shared by directions and buffers. Every result is a new Direction; none touches memory.

    Operands: a number, a 0-dim tensor, a buffer, a direction. Shapes must fit on every tensor where both sides
    have a value (ValueError at the line that wrote it). Where only one side has a value, a sum is that value and a
    product has none. `direction + number` adds to every entry.
    """

    __array_ufunc__ = None  # numpy scalars defer to these operators

    def lin(self) -> Direction:
        """The expression as a Direction."""
        raise NotImplementedError

    def __mul__(self, other: Any) -> Direction:
        if isinstance(other, Algebra):
            return operate("elementwise", "*", torch.mul, self, other)
        me, factor = self.lin(), scalar(other, "multiply", self)
        return Direction({n: times(c, factor) for n, c in me.terms.items()}, me.shapes)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Direction:
        if isinstance(other, Algebra):
            return operate("elementwise", "/", torch.div, self, other)
        me, by = self.lin(), scalar(other, "divide", self)
        return Direction({n: c / by for n, c in me.terms.items()}, me.shapes)

    def __rtruediv__(self, other: Any) -> Direction:
        return operate("elementwise", "/", operator.truediv, scalar(other, "divide", self), self)

    def __neg__(self) -> Direction:
        return self * -1.0

    def __pos__(self) -> Direction:
        return self.lin()

    def __add__(self, other: Any) -> Direction:
        if isinstance(other, Algebra):
            a, b = self.lin(), other.lin()
            return Direction(added(a.terms, b.terms, 1.0), combined("sum", "+", a, b))
        if isinstance(other, int | float) and other == 0:  # sum() starts at 0
            return self.lin()
        return operate("elementwise", "+", torch.add, self, scalar(other, "add to", self))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Direction:
        if isinstance(other, Algebra):
            a, b = self.lin(), other.lin()
            return Direction(added(a.terms, b.terms, -1.0), combined("sum", "-", a, b))
        return self.__add__(-scalar(other, "subtract from", self))

    def __rsub__(self, other: Any) -> Direction:
        return (-self).__add__(other)

    def __matmul__(self, other: Any) -> Direction:
        if not isinstance(other, Algebra):
            refuse("multiply", self, other)
        return operate("matmul", "@", torch.matmul, self, other)

    @property
    def T(self) -> Direction:
        """The transpose; on every tensor where it has a value it must be a matrix, or a stack of some."""
        return operate("transpose", "T", _transposed, self)

    def sqrt(self) -> Direction:
        """Entry by entry."""
        return operate("elementwise", "sqrt", torch.sqrt, self)

    def abs(self) -> Direction:
        """Entry by entry."""
        return operate("elementwise", "abs", torch.abs, self)

    def sign(self) -> Direction:
        """Entry by entry; 0 stays 0."""
        return operate("elementwise", "sign", torch.sign, self)

    def square(self) -> Direction:
        """Entry by entry."""
        return operate("elementwise", "square", torch.square, self)

    def clamp(self, min: Any = None, max: Any = None) -> Direction:
        """Entry by entry between bounds: numbers, 0-dim tensors, buffers or directions."""
        return operate("elementwise", "clamp", clamped, self, min, max)

    def map(self, fn: Callable[[Tensor], Tensor], *, keep: bool = False) -> Direction:
        """`fn` of each tensor's value, which it must not change. What it closes over is frozen now.

        keep=True stores the results until the seeds under them change (a cache, never state); `fn` must then be a
        plain function without a closure and the direction pure noise (TypeError otherwise).
        """
        me, name = self.lin(), name_of(fn)
        if keep and (getattr(fn, "__closure__", None) or not all(n.seeded for n in me.nodes())):
            raise TypeError(f"map({name}, keep=True) needs a function without a closure, of seeded noise alone")
        node = Kept(name, fn, (me,)) if keep else Op(name, frozen(fn), (me,))
        return Direction({node: 1.0}, combined("unknown", name, me))

    def __bool__(self) -> bool:
        raise TypeError(
            f"a direction has no truth value: {self!r} is not computed yet. Compare losses, not directions."
        )

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """`tensor * direction` becomes `direction * tensor`; every other torch function is refused with advice."""
        name = getattr(func, "__name__", str(func)).strip("_")
        if len(args) == 2 and isinstance(args[1], Algebra) and not isinstance(args[0], Algebra) and name in _FLIPPED:
            return getattr(args[1], _FLIPPED[name])(args[0])
        lazy = next((x for x in args if isinstance(x, Algebra)), "in a list")
        raise TypeError(
            f"torch.{name} got a lazy direction ({lazy!r}). Use its own operators (+ - * / @ .sqrt() .sign() .map(fn)),"
            " or loop: for p, d in self.each(direction): ..."
        )


_FLIPPED = {
    "mul": "__mul__",
    "rmul": "__mul__",
    "add": "__add__",
    "radd": "__add__",
    "sub": "__rsub__",
    "div": "__rtruediv__",
    "truediv": "__rtruediv__",
    "true_divide": "__rtruediv__",
}


def _transposed(x: Tensor) -> Tensor:
    return x.mT


class Direction(Algebra, Lazy):
    """A sum of scalar x node. `repr` is its formula; `on(p)` computes it for one tensor.

    `shapes` is what was checked when it was written; None for the empty sum.
    """

    def __init__(self, terms: dict[Node, Scalar], shapes: Shapes | None) -> None:
        self.terms, self.shapes = terms, shapes
        self._cast: dict[tuple[Node, torch.dtype, torch.device], Tensor] = {}

    def lin(self) -> Direction:
        return self

    def linear(self) -> bool:
        """True if every term is seeded noise: kernels and deferring engines may take it."""
        return all(n.seeded for n in self.terms)

    def numbers(self) -> Direction:
        """The same with 0-dim coefficients read as numbers (waits for the device)."""
        return Direction({n: c.item() if isinstance(c, Tensor) else c for n, c in self.terms.items()}, self.shapes)

    def plus(self, other: Direction, factor: float = 1.0) -> Direction:
        """The sum self + factor * other, for engines: shapes were checked when the two were written."""
        return Direction(added(self.terms, other.terms, factor), self.shapes or other.shapes)

    def on(self, p: Handle) -> Tensor | None:
        """The value on one tensor, float32 or wider; None where the direction has none. Not to be changed in place."""
        value: Tensor | None = Plan(self).on(p)[0]
        return value

    def owned(self, p: Handle, value: Tensor) -> Tensor:
        """`value`, computed by this direction, or a copy if it shares memory with a buffer or a kept result."""
        memory = value.untyped_storage().data_ptr()
        held = (n.storage(p) for n in self.nodes())
        shared = any(t is not None and t.untyped_storage().data_ptr() == memory for t in held)
        return value.clone(memory_format=torch.contiguous_format) if shared else value

    def evaluate(self, p: Handle, get: Get) -> Tensor | None:
        out: Tensor | None = None
        own = False
        for n, c in self.terms.items():
            v = get(n, p)
            if v is None:
                continue
            one = not isinstance(c, Tensor) and c == 1
            term = v if one else v * self.coefficient(n, c, v)
            if out is None:
                out, own = term, not one
            elif own and out.shape == term.shape:
                out.add_(term)
            else:
                out, own = out + term, True
        return out

    def coefficient(self, n: Node, c: Scalar, like: Tensor) -> Scalar:
        """`c` in the dtype of what it multiplies, and where that lies: made once, not once a tensor."""
        if not isinstance(c, Tensor):
            return c
        device = c.device if c.device.type == "cpu" else like.device  # a number of the host may stand beside any tensor
        if (c.dtype, c.device) == (like.dtype, device):
            return c
        key = n, like.dtype, device
        if key not in self._cast:
            self._cast[key] = c.to(device, like.dtype)
        return self._cast[key]

    def __eq__(self, other: object) -> bool:
        raise TypeError("directions cannot be compared: nothing is computed yet. Compare losses, or loop over each().")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return " + ".join(_term(n, c) for n, c in self.terms.items()) or "0"


def _term(n: Node, c: Scalar) -> str:
    return repr(n) if not isinstance(c, Tensor) and c == 1 else f"{float(c):.4g}*{n!r}"


ZERO = Direction({}, None)


def operate(rule: Rule, symbol: str, fn: Callable[..., Tensor], *args: Any) -> Direction:
    """`fn` of the operands as one node, its shapes checked."""
    parts = tuple(a.lin() if isinstance(a, Algebra) else a for a in args)
    return Direction(
        {Op(symbol, fn, parts): 1.0}, combined(rule, symbol, *(a for a in parts if isinstance(a, Direction)))
    )


def combined(rule: Rule, symbol: str, *parts: Direction) -> Shapes | None:
    """The shapes of an operator's result; ValueError naming the tensor and the formula if they do not fit."""
    known = [d.shapes for d in parts if d.shapes is not None]
    if not known or (rule != "sum" and len(known) < len(parts)):
        return None
    try:
        return known[0].space.combine(rule, *known)
    except Mismatch as e:
        shown = f" {symbol} ".join(f"({d!r})" for d in parts) if len(parts) > 1 else f"{symbol}({parts[0]!r})"
        raise ValueError(f"{shown} does not fit: {e}") from None


def check_displaces(d: Direction, handles: Sequence[Handle], verb: str) -> None:
    """ValueError unless `d` has on every tensor a shape that broadcasts to the tensor's."""
    if d.shapes is None or d.shapes is d.shapes.space.full:
        return
    for p in handles:
        shape = d.shapes.of.get(p.name)
        if not fits(shape, tuple(p.shape)):
            raise ValueError(f"cannot {verb} {d!r}: on {p.name} it has shape {shape}, the tensor {tuple(p.shape)}")
