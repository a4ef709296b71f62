"""P-GAP, Mi et al. 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zobench import Buffer, Count, Direction, Estimator, Losses, NonNegative, Positive

from ..stacks import matrix_like, others, sides, tall, wide
from .norms import reciprocal


class PGAP(Estimator):
    """Directions in the leading subspace of an estimate of the gradient, turned to have a set part along it.

    Paper: Towards Fast LLM Fine-tuning through Zeroth-Order Optimization with Projected Gradient-Aligned Perturbations
    (arXiv:2510.18228). Every `interval` steps, of `probes` Gaussian directions z_i,
    G = mean_i [L(theta + eps z_i) - L(theta - eps z_i)] / (2 eps) z_i,  and of every matrix  G = U S V^T, the r
    largest singular values. At every step, of each matrix: Z_0 (r, r) ~ N(0, 1), xi = +-1;
    Z = Z_0 - (<S, Z_0> - xi sqrt(delta) |S|) / |S|^2 S, so that <S, Z> = xi sqrt(delta) |S|;  d = U Z V^T;
    c = [L(theta + eps d) - L(theta - eps d)] / (2 eps);  W <- W - lr c d.  delta falls linearly to 0 over `decay`
    steps. On tensors that are no matrices d is Gaussian.

    Not verified: of the paper the abstract and a review with the equation of the alignment were to be had; that it is
    made in the coordinates of U and V follows from it, as <U S V^T, U Z V^T> = <S, Z>. Defaults: rank 128, interval
    100, probes 10 and delta 2 are those of another's port; eps and learning rates are MeZO's and subzero's without its
    scale; decay, which batch is probed (a further one) and that xi is of each matrix are ours. G is of ten directions,
    so that its leading singular values are hardly larger than those of noise.

    Forwards a step: 2; and 2 probes for the probes, counted as extra, 0.2 a step. State: U, S and V, r (m + n) + r^2
    fp32 values a matrix. Of a tensor that holds the matrices of all experts of a block, each has its own.
    """

    own_directions: ClassVar[str] = "they are in a subspace that it has looked for"
    reference: ClassVar[str] = "Mi et al. 2025, arXiv:2510.18228"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    extra_forwards_per_step: ClassVar[float] = 0.2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 5e-3)
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 3, "probes": 2, "decay": 10**6}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
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

    def setup(self) -> None:
        rank = self.rank  # not self: buffers may not keep their estimator alive
        self.u = self.buffer("u", shape=lambda p: tall(p, min(rank, *sides(p))), on=matrix_like)
        self.v = self.buffer("v", shape=lambda p: wide(p, min(rank, *sides(p))), on=matrix_like)
        self.s = self.buffer("s", shape=lambda p: (*p.shape[:-2], *(min(rank, *sides(p)),) * 2), on=matrix_like)

    def state_of(self, shape: tuple[int, ...]) -> float:
        r = min(self.rank, *shape) if len(shape) == 2 else 0
        return r * sum(shape) + r * r

    def look_around(self, losses: Losses) -> None:
        """U, S and V of an estimate of the gradient on a further batch."""
        batch = losses.fresh()
        zs = [self.noise() for _ in range(self.probes)]
        first, *rest = (batch.slope(z, self.eps) / self.probes * z for z in zs)
        for p, g in self.each(sum(rest, first)):
            if matrix_like(p):
                u, s, vh = torch.linalg.svd(g, full_matrices=False)
                r = self.s[p].shape[-1]
                self.u[p].copy_(u[..., :r])
                self.s[p].copy_(torch.diag_embed(s[..., :r]))
                self.v[p].copy_(vh[..., :r, :].mT)

    def surplus(self, z: Direction, xi: Direction) -> Buffer:
        """What is to be taken off Z_0, in multiples of S: one number a matrix."""
        delta = self.delta * max(0.0, 1 - self.t / self.decay)
        found: dict[str, Tensor] = {}
        for p, core, sign in self.each(z, xi):
            square = self.s[p].square().sum((-2, -1), keepdim=True)
            along = (self.s[p] * core).sum((-2, -1), keepdim=True)
            found[p.name] = (along - sign * math.sqrt(delta) * square.sqrt()) * reciprocal(square)
        return self.compute(lambda p: found[p.name], on=lambda p: p.name in found, name="surplus")

    def iterate(self, losses: Losses) -> Tensor:
        if self.t % self.interval == 0:
            self.look_around(losses)
        rank = self.rank
        z = self.noise(shape=lambda p: (*p.shape[:-2], *(min(rank, *sides(p)),) * 2), on=matrix_like, label="z")
        xi = self.noise("rademacher", shape=lambda p: (*p.shape[:-2], 1, 1), on=matrix_like, label="xi")
        d = self.u @ (z - self.surplus(z, xi) * self.s) @ self.v.T + self.noise(on=others)
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        return lp
