"""A direction of counter-based noise on one tensor, not drawn: kernels draw it where they add it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from .coefficients import Scalar
from .handle import Handle
from .nodes import Lazy, Node
from .noise.philox import PART_OF_A_GPU, Philox, numbers
from .noise.source import Noise


class Fused:
    """A sum of as many noises as a kernel adds, each times a number or a 0-dim tensor; for a tensor of p's shape."""

    def __init__(self, p: Handle, terms: Mapping[Node, Scalar]) -> None:
        self.p, self.terms = p, terms

    @classmethod
    def of(cls, direction: Lazy, p: Handle) -> Fused | None:
        """The direction on `p` as kernels take it; None where they do not: other noise, parts of the scope, a mask."""
        terms = direction.terms
        fits = 0 < len(terms) <= kernels.MOST_TERMS and p.mask is None and all(_counted(n, p) for n in terms)
        return cls(p, terms) if fits and (kernels.takes(p.raw) or in_parts(p.raw)) else None

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
    noises = list(dict.fromkeys(n for point in points if point is not None for n in point.terms))
    if not 0 < len(noises) <= kernels.MOST_TERMS:
        return False
    p = next(point.p for point in points if point is not None)
    counted = [n for n in noises if isinstance(n, Noise)]
    seeds = [n.source.key(n.seed, n.kind, p.name) for n in counted if isinstance(n.source, Philox)]
    rows = [[0.0 if point is None else point.terms.get(n, 0.0) for n in noises] for point in points]
    coefficients = _on_device(rows, base.device)
    kinds = [n.kind for n in counted]
    if kernels.usable(base.device.type):
        from ..kernels.adding import add

        add(base.contiguous(), out, seeds, kinds, coefficients, Philox.rounds)
    else:
        _add_in_parts(base, out, seeds, kinds, coefficients)
    return True


def in_parts(weights: Tensor) -> bool:
    """Whether noise is added to this tensor part by part: of a large one on a GPU without kernels, where the noise of
    all of it would take several times its memory.
    """
    large = weights.device.type != "cpu" and weights.numel() > PART_OF_A_GPU and weights.is_contiguous()
    return large and not kernels.usable(weights.device.type)


def _add_in_parts(base: Tensor, out: Tensor, seeds: Sequence[int], kinds: Sequence[str], coefficients: Tensor) -> None:
    """As `kernels.adding.add`: in float32 with one rounding, so that the two differ by what log, sin and cos do."""
    flat, points = base.reshape(-1), out.view(len(out), -1)
    for begin in range(0, flat.numel(), PART_OF_A_GPU):
        here = slice(begin, begin + PART_OF_A_GPU)
        start = flat[here].float()
        zs = [
            numbers(kind, seed, start.numel(), base.device, begin=begin)
            for seed, kind in zip(seeds, kinds, strict=True)
        ]
        for point, row in zip(points, coefficients, strict=True):
            value = start
            for z, c in zip(zs, row, strict=True):
                value = value + c * z
            point[here].copy_(value)


_MADE: dict[tuple[Any, ...], tuple[Sequence[Scalar], Tensor]] = {}
_KEPT = 64


def _on_device(rows: Sequence[Sequence[Scalar]], device: torch.device) -> Tensor:
    """float32 (points, terms), not to be changed. Nothing waits for the device.

    Made once of the same coefficients, as every tensor of a sweep has the same: to cast and stack them before every
    launch would be two launches or more.
    """
    flat = [c for row in rows for c in row]
    if any(isinstance(c, Tensor) and c.is_inference() for c in flat):  # these count no versions
        return _stacked(flat, device).view(len(rows), -1)
    key = (device, len(rows), *((id(c), c._version) if isinstance(c, Tensor) else c for c in flat))
    made = _MADE.pop(key, None)
    if made is None:
        made = flat, _stacked(flat, device).view(len(rows), -1)  # holds the tensors, so that their ids stay theirs
        while len(_MADE) >= _KEPT:
            del _MADE[next(iter(_MADE))]
    _MADE[key] = made
    return made[1]


def _stacked(flat: Sequence[Scalar], device: torch.device) -> Tensor:
    there = [
        # a number by a fill: sent from the host, it would wait for all that the device has to do before
        c.to(device, torch.float32) if isinstance(c, Tensor) else torch.full((), c, dtype=torch.float32, device=device)
        for c in flat
    ]
    return torch.stack(there)
