"""A direction of noise on one tensor of a CPU, computed where it is added, in pieces that a cache holds.

The same bits as a sum over whole tensors, as every operation is entry by entry, without a pass over memory for each of
them and without new memory for what lies between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .coefficients import Scalar
from .fused import Fused
from .handle import Handle
from .nodes import Drawn, Lazy, Node
from .noise.source import Noise

PIECE = 1 << 17
"""Entries of a piece, for each thread; a tensor that is no larger is computed whole."""
LEAST = 16
"""Of the last piece: what torch's generator fills at a time."""


class Piecewise:
    """A sum of noises, each times a number or a 0-dim tensor; for a tensor of p's shape.

    Noise that `drawn` keeps is drawn once, in the pieces in which it is first added.
    """

    def __init__(self, p: Handle, terms: Mapping[Node, Scalar], drawn: Drawn) -> None:
        self.p, self.terms, self._drawn = p, terms, drawn

    @classmethod
    def of(cls, direction: Lazy, p: Handle, drawn: Drawn, *, sole: bool) -> Piecewise | None:
        """The direction on `p`; None where it is computed whole: other nodes, parts of the scope, a mask, a GPU.

        sole: it is the only one of its sweep, so that noise that is not kept may be drawn within it.
        """
        terms, weights = direction.terms, p.raw
        if weights.device.type != "cpu" or weights.numel() <= _size() or p.mask is not None:
            return None
        shape = tuple(p.shape)
        noises = bool(terms) and all(isinstance(n, Noise) and n.shape_on(p) == shape for n in terms)
        known = sole or all(drawn.keeps(n) for n in terms)
        return cls(p, terms, drawn) if noises and known and weights.is_contiguous() else None

    def __neg__(self) -> Piecewise:
        return Piecewise(self.p, {n: -c for n, c in self.terms.items()}, self._drawn)

    def drawn(self) -> Tensor:
        """The direction itself, float32 or wider."""
        out = torch.empty(self.p.shape, dtype=self.p.dtype)
        for (at,), value in zip(_pieces(out), self._values(), strict=True):
            at.copy_(value)
        return out

    def onto(self, base: Tensor, out: Tensor) -> Tensor:
        """Make out = base + the direction, rounded once to out's dtype; out may be base."""
        for (into, start), value in zip(_pieces(out, base), self._values(), strict=True):
            torch.add(start, value, out=into)
        return out

    def _values(self) -> Iterator[Tensor]:
        """The direction, piece after piece: each holds until the next is asked for."""
        p, drawn = self.p, self._drawn
        late = next((n for n in reversed(list(self.terms)) if drawn.kept(n, p) is None), None)
        whole = {n: self._whole(n) for n in self.terms if n is not late}
        fill = late.filler(p) if isinstance(late, Noise) else None  # now: it may share its generator with the others
        kept: Tensor | None = None
        if late is not None and fill is None:
            whole[late] = self._whole(late)
        elif late is not None and drawn.keeps(late):
            whole[late] = kept = torch.empty(p.shape, dtype=p.dtype)
        columns = {n: _pieces(value) for n, value in whole.items()}
        factors = [_in(c, p.dtype) for c in self.terms.values()]
        sums, products, anew = (torch.empty(_size() + LEAST, dtype=p.dtype) for _ in range(3))
        for (at,) in _pieces(p.raw):
            size = at.numel()
            values = [next(columns[n])[0] if n in columns else anew[:size] for n in self.terms]
            if fill is not None:
                fill(next(v for n, v in zip(self.terms, values, strict=True) if n is late))
            yield _summed(values, factors, sums[:size], products[:size])
        if kept is not None and late is not None:
            drawn.keep(late, p, kept)

    def _whole(self, n: Node) -> Tensor:
        value = self._drawn.value(n, self.p, lambda node, handle: None)
        assert value is not None
        return value


Uncomputed: TypeAlias = Fused | Piecewise
"""What stands for a direction on a tensor until it is added."""


def uncomputed(drawn: Drawn, *, sole: bool) -> Callable[[Lazy, Handle], Uncomputed | None]:
    """For plans: what stands for a direction on a tensor; None: its value is computed."""
    return lambda d, p: Fused.of(d, p) or Piecewise.of(d, p, drawn, sole=sole)


def _size() -> int:
    return PIECE * torch.get_num_threads()


def _pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """These contiguous tensors of one size in pieces; the last may have a few entries more."""
    n, size = tensors[0].numel(), _size()
    sizes = [size] * (n // size)
    rest = n % size
    if rest >= LEAST:
        sizes.append(rest)
    else:
        sizes[-1] += rest
    return zip(*(t.view(-1).split_with_sizes(sizes) for t in tensors), strict=True)


def _in(c: Scalar, dtype: torch.dtype) -> Scalar:
    """A coefficient as one operand of a product in this dtype."""
    return c.to("cpu", dtype) if isinstance(c, Tensor) else c


def _summed(values: Sequence[Tensor], coefficients: Sequence[Scalar], sums: Tensor, products: Tensor) -> Tensor:
    """The sum of the products, in the order and with the roundings of `Direction.evaluate`; a coefficient 1 is none."""
    out: Tensor | None = None
    for value, c in zip(values, coefficients, strict=True):
        one = not isinstance(c, Tensor) and c == 1
        if out is None:
            out = value if one else torch.mul(value, c, out=sums)
        else:
            out = torch.add(out, value if one else torch.mul(value, c, out=products), out=sums)
    assert out is not None
    return out
