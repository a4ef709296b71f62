"""A direction of counter-based noise on one tensor, not drawn: kernels draw it where they add it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from .. import kernels
from .handle import Handle
from .nodes import Lazy, Node
from .noise import Noise
from .operands import Scalar
from .philox import Philox


class Fused:
    """A sum of at most two noises, each times a number or a 0-dim tensor; to be added to a tensor of p's shape."""

    def __init__(self, p: Handle, terms: Mapping[Node, Scalar]) -> None:
        self.p, self.terms = p, terms

    @classmethod
    def of(cls, direction: Lazy, p: Handle) -> Fused | None:
        """The direction on `p` as kernels take it; None where they do not: other noise, parts of the scope, a mask."""
        terms = direction.terms
        fits = 0 < len(terms) <= kernels.MOST_TERMS and p.mask is None and all(_counted(n, p) for n in terms)
        return cls(p, terms) if fits and kernels.takes(p.raw) else None

    def __neg__(self) -> Fused:
        return Fused(self.p, {n: -c for n, c in self.terms.items()})

    def drawn(self) -> Tensor:
        """The direction itself, float32."""
        zeros = torch.zeros(self.p.shape, device=self.p.param.device)
        return self.onto(zeros, zeros)

    def onto(self, base: Tensor, out: Tensor) -> Tensor:
        """Make out = base + the direction, in float32 with one rounding, in one pass; out may be base."""
        several(base, [self], out[None])
        return out


def _counted(node: Node, p: Handle) -> bool:
    return isinstance(node, Noise) and isinstance(node.source, Philox) and node.shape_on(p) == tuple(p.shape)


def several(base: Tensor, points: Sequence[Fused | None], out: Tensor) -> bool:
    """Make out[j] = base + points[j] (None: base as it is) in one pass; False, and nothing done, where the points are
    of too many noises.
    """
    from ..kernels.adding import add

    noises = list(dict.fromkeys(n for point in points if point is not None for n in point.terms))
    if not 0 < len(noises) <= kernels.MOST_TERMS:
        return False
    p = next(point.p for point in points if point is not None)
    counted = [n for n in noises if isinstance(n, Noise)]
    seeds = [n.source.key(n.seed, n.kind, p) for n in counted if isinstance(n.source, Philox)]
    rows = [[0.0 if point is None else point.terms.get(n, 0.0) for n in noises] for point in points]
    coefficients = _on_device(rows, base.device)
    add(base.contiguous(), out, seeds, [n.kind for n in counted], coefficients, Philox.rounds)
    return True


def _on_device(rows: Sequence[Sequence[Scalar]], device: torch.device) -> Tensor:
    """float32 (points, terms), without waiting for a device that some of them are on."""
    flat = [c for row in rows for c in row]
    if not any(isinstance(c, Tensor) for c in flat):
        return _numbers(tuple(map(float, flat)), device).view(len(rows), -1)
    there = [c.to(device, torch.float32) if isinstance(c, Tensor) else _numbers((c,), device)[0] for c in flat]
    return torch.stack(there).view(len(rows), -1)


@lru_cache(maxsize=64)
def _numbers(values: tuple[float, ...], device: torch.device) -> Tensor:
    """These numbers, sent once: every tensor of a sweep has the same. Not to be changed."""
    return torch.tensor(values, dtype=torch.float32, device=device)
