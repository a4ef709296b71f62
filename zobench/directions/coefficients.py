"""What may stand beside a direction: coefficients, and functions frozen when they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import CellType, FunctionType
from typing import Any, NoReturn, TypeAlias, TypeVar

import torch
from torch import Tensor

from ..devices import wide

Scalar: TypeAlias = float | Tensor
"""A coefficient: a number, or a 0-dim tensor (stays on its device, as float64: nothing waits for it)."""

K = TypeVar("K")


def scalar(x: Any, verb: str, d: object) -> Scalar:
    """A number or 0-dim tensor as a coefficient; TypeError with advice for anything else.

    Tensors become float64: a float16 loss difference times a learning rate would underflow, and
    `eps - lr * g` would lose `lr * g`. (float32 where the device has no float64.)
    """
    if isinstance(x, Tensor):
        if x.ndim:
            refuse(verb, d, x)
        return wide(x.detach())
    if isinstance(x, bool) or getattr(x, "shape", ()) != () or not hasattr(x, "__float__"):
        refuse(verb, d, x)
    return float(x)


def refuse(verb: str, d: object, x: object) -> NoReturn:
    """Raise TypeError for an operand that is none."""
    what = f"tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    raise TypeError(
        f"cannot {verb} the direction {d!r} with a {what}. Allowed: a number, a 0-dim tensor, a buffer, a "
        "direction. One value per parameter is a buffer: self.compute(lambda p: ...)."
    )


def times(c: Scalar, factor: Scalar) -> Scalar:
    """The product c * factor, without a kernel where one of them is the number 1."""
    if not isinstance(c, Tensor) and c == 1:
        return factor
    return c if not isinstance(factor, Tensor) and factor == 1 else c * factor


def added(a: Mapping[K, Scalar], b: Mapping[K, Scalar], factor: float) -> dict[K, Scalar]:
    """The coefficients of a + factor * b; those that are the number 0 vanish."""
    out = dict(a)
    for n, c in b.items():
        out[n] = out[n] + times(c, factor) if n in out else times(c, factor)
    return {n: c for n, c in out.items() if isinstance(c, Tensor) or c != 0}


def frozen(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with the present values of what it closes over: a sweep may run after a loop variable has moved on."""
    if not isinstance(fn, FunctionType) or not fn.__closure__:
        return fn
    cells = tuple(CellType(c.cell_contents) for c in fn.__closure__)
    out = FunctionType(fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, cells)
    out.__kwdefaults__ = fn.__kwdefaults__
    return out


def name_of(fn: Callable[..., Any]) -> str:
    """A function's name, for formulas."""
    return str(getattr(fn, "__name__", type(fn).__name__))


def clamped(x: Tensor, low: Any, high: Any) -> Tensor:
    """torch.clamp with bounds that are numbers, tensors or None, in any mixture."""
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return torch.clamp(x, min=low, max=high)
    low, high = (
        b if b is None or isinstance(b, Tensor) else torch.full((), b, dtype=x.dtype, device=x.device)
        for b in (low, high)
    )
    return torch.clamp(x, min=low, max=high)
