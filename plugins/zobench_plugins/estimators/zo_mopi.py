"""ZO-MOPI, Chen and Ma 2026."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from zobench import Algebra, Count, Direction, Estimator, Handle, Losses, NonNegative, Positive, matrices, vectors, wide

from ..stacks import refuse_stacks
from .adam import Beta
from .subzero_plus import haar


def kept_directions(m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """U V^T and V of one warm-started power iteration on M (r, n), from V (n, k)."""
    v = torch.linalg.qr(m.T @ (m @ v)).Q
    u = torch.nn.functional.normalize(m @ v, dim=0)
    return u @ v.T, v


class ZOMOPI(Estimator):
    """ZO-Muon's looks with a momentum, of which the leading directions alone are set to one length.

    Paper: Accelerating Zeroth-Order Spectral Optimization with Partial Orthogonalization from Power Iteration
    (arXiv:2605.09034).  A (m, r) orthonormal, new every `interval` steps;  B_i (r, n) ~ N(0, 1), i = 1..N;
    c_i = [L(theta + eps A B_i) - L(theta - eps A B_i)] / (2 eps);  G = (1 / N) sum_i c_i B_i;
    M <- beta M + (1 - beta) G;  V <- QR(M^T (M V)), V (n, k);  U = the columns of M V, each of length 1;
    W <- W - lr A U V^T.  Where A is new M is carried over, A_new^T A_old M. On tensors that are no matrices d is
    Gaussian, and they move by vector_lr times the momentum.

    At beta 0 the warm start follows nothing, and half of the directions (k of r) are left out of equally informed
    ones: `zo_muon` is the control.

    Defaults: queries 8, rank 64, keep 32, interval 500, eps 1e-3, lr 1e-2, vector_lr 1e-7 (released README and
    script); beta 0.9, where the released script has 0: the paper's is not known to us (`verified` False). Read were a
    summary of the paper's equations and the released code (ZOMuonTrainer.py): from the code are the start (V of a
    random basis, M of the first G) and the Haar-distributed A. Forwards a step: 2 queries. State: M, V and A, r (m +
    n) + n k fp32 values a matrix (A is computed again from its seed on resuming), one a parameter on other tensors.
    Weight decay is for matrices alone. A tensor that holds the matrices of all experts of a block is refused.

    Public code (`anchored` off, `two_sided` off, beta 0: as released): looks are one-sided, whatever its option says; M
    is not carried over, and V starts anew where A does.
    """

    own_directions: ClassVar[str] = "its momentum lies in the coordinates of its own subspace"
    reference: ClassVar[str] = "Chen and Ma 2026, arXiv:2605.09034"
    public_code: ClassVar[str] = (
        "MOFA-LAB/ZO-MOPI (no licence): one-sided looks whatever its option says, no momentum by default, nothing is "
        "carried over to a new subspace"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 16
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 5e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-4, 5e-3)
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 4, "keep": 2, "queries": 2}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times each direction."""
    queries: Count = 8
    """Directions a step, N."""
    rank: Count = 64
    """Columns of A, where a matrix has as many rows."""
    keep: Count = 32
    """Directions of M that a step has, k, where M has as many."""
    interval: Count = 500
    """Steps for which A is held."""
    beta: Beta = 0.9
    """Decay of M."""
    vector_lr: NonNegative = 1e-7
    """Learning rate of tensors that are no matrices; no schedule changes it."""
    two_sided: bool = True
    """Whether looks are on both sides (2 N forwards a step) or on one (N + 1)."""
    anchored: bool = True
    """Whether M and V outlive a change of A."""

    def setup(self) -> None:
        refuse_stacks("zo_mopi", self.handles, "choose a scope without experts")
        rank, keep = self.rank, self.keep  # not self: buffers may not keep their estimator alive
        self.m = self.buffer("m", shape=lambda p: core(rank, p))
        self.v = self.buffer("v", shape=lambda p: (p.shape[1], kept(rank, keep, p)), on=matrices)
        self.a = self.buffer("a", shape=lambda p: (p.shape[0], min(rank, p.shape[0])), on=matrices)
        self.steps = self.buffer("steps", shape=lambda p: ())

    def state_of(self, shape: tuple[int, ...]) -> float:
        if len(shape) != 2:
            return math.prod(shape)
        rank = min(self.rank, shape[0])
        # A is kept twice: as it is held, and as M's coordinates are
        return rank * shape[1] + shape[1] * min(self.keep, rank, shape[1]) + 2 * rank * shape[0]

    def carry(self, a: Algebra, start: Algebra) -> None:
        """M into the coordinates of this A, where it is of another; V from the start where there is none."""
        for p, new, first in self.each(a, start):
            old = self.a[p]
            changed = (old != new).any()  # on the device: no host sync
            moved = new.T @ old @ self.m[p] if self.anchored else self.m[p]
            fresh = (self.steps[p] == 0) | (changed if not self.anchored else False)
            self.m[p].copy_(torch.where(changed, moved, self.m[p]))
            self.v[p].copy_(torch.where(fresh, torch.linalg.qr(first).Q, self.v[p]))
            old.copy_(new)

    def drawn(self) -> tuple[Direction, Direction]:
        """Gaussian z on vectors and B (r, n) on matrices, new at every call."""
        z = self.noise(on=vectors)
        return z, self.noise(shape=lambda p: (min(self.rank, p.shape[0]), p.shape[1]), on=matrices, label="b")

    def iterate(self, losses: Losses) -> Tensor:
        a = self.noise(
            shape=lambda p: (p.shape[0], min(self.rank, p.shape[0])), on=matrices, every=self.interval, label="A"
        ).map(haar, keep=True)
        zs, bs = zip(*(self.drawn() for _ in range(self.queries)), strict=True)
        shown, cs = self.slopes(losses, [a @ b + z for b, z in zip(bs, zs, strict=True)])
        start = self.noise(
            shape=lambda p: (p.shape[1], kept(self.rank, self.keep, p)), on=matrices, every=self.interval, label="V"
        )
        self.carry(a, start)
        first, *rest = (c / self.queries * (b + z) for c, b, z in zip(cs, bs, zs, strict=True))
        steps: dict[str, Tensor] = {}
        for p, g in self.each(sum(rest, first)):
            self.m[p].lerp_(g, torch.where(self.steps[p] == 0, 1.0, 1 - self.beta))  # the first is taken whole
            self.steps[p].add_(1)
            if matrices(p):
                steps[p.name], v = kept_directions(self.m[p], self.v[p])
                self.v[p].copy_(v)
        self.move(-self.vector_lr * (self.compute(lambda p: self.m[p], on=vectors, name="m")))
        self.descend(a @ self.compute(lambda p: steps[p.name], on=matrices, name="o"))
        return shown

    def slopes(self, losses: Losses, ds: list[Direction]) -> tuple[Tensor, list[Tensor]]:
        """The loss to show, and the slope along each direction."""
        if self.two_sided:
            seen = losses(*(sign * self.eps * d for d in ds for sign in (+1, -1)))
            return seen[0], [(lp - lm) / (2 * self.eps) for lp, lm in zip(seen[::2], seen[1::2], strict=True)]
        l0, *ls = losses(0, *(self.eps * d for d in ds))
        return l0, [(wide(one) - wide(l0)) / self.eps for one in ls]


def core(rank: int, p: Handle) -> tuple[int, ...]:
    """The shape of M: (r, n) of a matrix, of other tensors their own."""
    return (min(rank, p.shape[0]), p.shape[1]) if matrices(p) else tuple(p.shape)


def kept(rank: int, keep: int, p: Handle) -> int:
    """Columns of V."""
    smallest: int = min(keep, rank, *p.shape)
    return smallest
