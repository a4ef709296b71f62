"""The directions of P-GAP, Mi et al. 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Count, Direction, Directions, Draws, Handle, NonNegative, Positive

from ..estimators.norms import reciprocal
from ..stacks import matrix_like, others, sides, tall, wide

EXERCISE: Mapping[str, object] = {"interval": 3, "rank": 3, "probes": 2, "decay": 10**6}
"""Settings that bring a change of U, S and V into a few steps."""
PROBING = 0.2
"""Forwards a step, on average, at the default settings: two for each probe, every `interval` steps."""


class PGAPSettings:
    """The settings of the directions and of the estimator that is mezo along them, and nothing else."""

    eps: Positive = 1e-3
    """How far to look: the probes, and of p_gap the looks along a direction too."""
    rank: Count = 128
    """Singular values that are kept, where a matrix has as many."""
    interval: Count = 100
    """Steps for which U, S and V are held."""
    probes: Count = 10
    """Directions that G is the mean of."""
    delta: NonNegative = 2.0
    """Square of the part of Z along S, at first."""
    decay: Count = 10_000
    """Steps in which delta falls to 0; set it to the steps of the run."""


class PGAPDirections(PGAPSettings, Directions):
    """In the leading subspace of an estimate of the gradient, with a set part along it; Gaussian on others.

    Paper: P-GAP (arXiv:2510.18228). Every `interval` steps, of `probes` Gaussian directions, an estimate G of the
    gradient, and of every matrix its r leading singular values  G = U S V^T;  for every direction Z_0 (r, r) ~ N(0, 1),
    xi = +-1,  Z = Z_0 - (<S, Z_0> - xi sqrt(delta) |S|) / |S|^2 S;  d = U Z V^T.  `mezo` along them is `p_gap`; see
    there for what is known of the paper. Probes look at a further batch, and are counted as extra.

    All directions of a step share U, S and V. Of a tensor that holds the matrices of all experts of a block, each has
    its own. State: U, S and V, r (m + n) + r^2 fp32 values a matrix. A direction of an earlier step cannot be drawn
    again.
    """

    reference: ClassVar[str] = "Mi et al. 2025, arXiv:2510.18228"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    recalled: ClassVar[bool] = False
    extra_forwards_per_step: ClassVar[float] = PROBING
    exercise: ClassVar[Mapping[str, object]] = EXERCISE

    def state_of(self, shape: tuple[int, ...]) -> float:
        return kept(self.rank, shape)

    def held(self, of: Draws) -> tuple[Buffer, Buffer, Buffer]:
        """U, S (as a diagonal matrix) and V."""
        rank = self.rank  # not self: buffers may not keep their estimator alive
        u = of.buffer("u", shape=lambda p: tall(p, min(rank, *sides(p))), on=matrix_like)
        s = of.buffer("s", shape=lambda p: core(rank, p), on=matrix_like)
        return u, s, of.buffer("v", shape=lambda p: wide(p, min(rank, *sides(p))), on=matrix_like)

    def look_around(self, of: Draws) -> None:
        """U, S and V of an estimate of the gradient on a further batch."""
        batch, (held_u, held_s, held_v) = of.losses.fresh(), self.held(of)
        zs = [of.noise() for _ in range(self.probes)]
        first, *rest = (batch.slope(z, self.eps) / self.probes * z for z in zs)
        for p, g in of.each(sum(rest, first)):
            if matrix_like(p):
                u, s, vh = torch.linalg.svd(g, full_matrices=False)
                r = held_s[p].shape[-1]
                held_u[p].copy_(u[..., :r])
                held_s[p].copy_(torch.diag_embed(s[..., :r]))
                held_v[p].copy_(vh[..., :r, :].mT)

    def surplus(self, of: Draws, z: Direction, xi: Direction) -> Buffer:
        """What is to be taken off Z_0, in multiples of S: one number a matrix."""
        delta, (_, held_s, _) = self.delta * max(0.0, 1 - of.t / self.decay), self.held(of)
        found: dict[str, Tensor] = {}
        for p, inner, sign in of.each(z, xi):
            square = held_s[p].square().sum((-2, -1), keepdim=True)
            along = (held_s[p] * inner).sum((-2, -1), keepdim=True)
            found[p.name] = (along - sign * math.sqrt(delta) * square.sqrt()) * reciprocal(square)
        return of.compute(lambda p: found[p.name], on=lambda p: p.name in found, name="surplus")

    def draw(self, of: Draws) -> Direction:
        if of.t % self.interval == 0:
            of.once("p_gap", lambda: self.look_around(of.everywhere()))
        rank = self.rank
        z = of.noise(shape=lambda p: core(rank, p), on=matrix_like)
        xi = of.noise("rademacher", shape=lambda p: (*p.shape[:-2], 1, 1), on=matrix_like, label="xi")
        u, s, v = self.held(of)
        return u @ (z - self.surplus(of, z, xi) * s) @ v.T + of.noise(on=others)


def core(rank: int, p: Handle) -> tuple[int, ...]:
    """The shape of Z: (r, r), one for each matrix of a stack."""
    r = min(rank, *sides(p))
    return (*p.shape[:-2], r, r)


def kept(rank: int, shape: tuple[int, ...]) -> float:
    """Entries of U, S and V of a tensor of this shape."""
    r = min(rank, *shape) if len(shape) == 2 else 0
    return r * sum(shape) + r * r
