"""ZO-MOPI, Chen and Ma 2026."""

from __future__ import annotations

import math
from collections.abc import Mapping
<<<<<<< HEAD
from typing import ClassVar
=======
from typing import Annotated, ClassVar, Literal
>>>>>>> 83e57cf7 (ZO-MOPI: partial orthogonalisation of a subspace momentum by a step of power iteration)

import torch
from torch import Tensor

<<<<<<< HEAD
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
    script); beta 0.9, where the released script has 0: the paper's is not known to us. Read were a summary of the
    paper's equations and the released code (`verified` False): from the code are the start (V of a random basis, M of
    the first G) and the Haar-distributed A. Forwards a step: 2 queries. State: M, V and A, r (m + n) + n k fp32 values
    a matrix (A is computed again from its seed on resuming), one a parameter on other tensors. Weight decay is for
    matrices alone. A tensor that holds the matrices of all experts of a block is refused.

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
=======
from zobench import Count, Direction, Estimator, Handle, Losses, NonNegative, Positive, Range, matrices, vectors, wide

from ..stacks import refuse_stacks
from .subzero import orthonormal


def leading(m: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """A step of power iteration: about the leading right singular vectors of m (r, n), from v (n, k); and U V^T.

    U has the columns of m V, each of length 1; zeros stay.
    """
    v = torch.linalg.qr(m.T @ (m @ v)).Q
    u = m @ v
    u = u / u.norm(dim=0).clamp_min(torch.finfo(u.dtype).tiny)
    return v, u @ v.T


class ZOMOPI(Estimator):
    """Several looks in a held subspace of each matrix; of their momentum the leading directions are made equally long.

    Paper: Accelerating Zeroth-Order Spectral Optimization with Partial Orthogonalization from Power Iteration
    (arXiv:2605.09034), ZO-Muon with another msign: P (m, r) orthonormal, new every `interval` steps;
    U_i (r, columns) ~ N(0, 1), i = 1 ... n;  c_i the slope along P U_i;  G = (1 / n) sum_i c_i U_i;
    M <- beta M + (1 - beta) G;  V <- QR(M^T M V) (columns, k), one step from the V before;  U the columns of M V, each
    of length 1;  W <- W - lr P U V^T, a step of length lr sqrt(k). Where P is new, M is carried over, P^T P_old M, and
    V starts anew from a random one. On tensors that are no matrices d is Gaussian, and they move by vector_lr times a
    mean of c_i z_i with the same beta.

    Known are the equations, of a public summary, and the released code; not the paper's beta, nor whether its P is
    random, as in the code and here (`verified` False). Defaults: queries 8, rank 64, interval 500, k 32, eps 1e-3,
    lr 1e-2, vector_lr 1e-7 (released README and script), beta 0.9 (run.py). Slopes are one-sided, as released;
    looks="two_sided" is the summary's. The first M is the first G. Forwards a step: queries + 1. State: P, M and V,
    r (m + columns) + k columns fp32 values a matrix, one a value of other tensors. A tensor that rests when P is drawn
    keeps its own until the next time. Weight decay is for matrices alone.

    Public code: the script's beta is 0, with which one step of power iteration from a random V keeps about sqrt(k / r)
    of G and the rest of the method has nothing to follow; carry="as_released" leaves M in the coordinates of the old
    P. Its two-sided flag does nothing. After 20 000 steps it goes over to ZO-Muon's msign, which is not done here.
    """

    own_directions: ClassVar[str] = "what it orthogonalises lies in the coordinates of its own subspace"
    reference: ClassVar[str] = "Chen and Ma 2026, arXiv:2605.09034"
    public_code: ClassVar[str] = (
        "MOFA-LAB/ZO-MOPI (no licence): the script's beta is 0; M is not carried to a new P; two_side does nothing"
    )
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 9
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 5e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-4, 5e-3)
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 4, "k": 2, "queries": 2}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    queries: Count = 8
    """Directions a step."""
    rank: Count = 64
    """Columns of P, where a matrix has as many rows."""
    k: Count = 32
    """Directions of M that the step keeps, where there are as many."""
    interval: Count = 500
    """Steps for which P is held."""
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Decay of the momentum."""
    vector_lr: NonNegative = 1e-7
    """Learning rate of tensors that are no matrices; no schedule changes it."""
    looks: Literal["one_sided", "two_sided"] = "one_sided"
    """Slopes from the loss at theta (released code), or central differences, at 2 queries forwards."""
    carry: Literal["projected", "as_released"] = "projected"
    """What becomes of M where P is new (see above)."""

    def setup(self) -> None:
        refuse_stacks("zo_mopi", self.handles, "choose a scope without experts")
        rank, k = self.rank, self.k  # not self: buffers may not keep their estimator alive

        def tall(p: Handle) -> tuple[int, ...]:
            return p.shape[0], min(rank, p.shape[0])

        def right(p: Handle) -> tuple[int, ...]:
            return p.shape[1], min(k, rank, *p.shape)

        self.p = self.buffer("p", shape=tall, on=matrices)
        self.m = self.buffer("m", shape=lambda p: (min(rank, p.shape[0]), *p.shape[1:]) if p.ndim == 2 else p.shape)
        self.v = self.buffer("v", shape=right, on=matrices)
        self.starts = (("P", tall), ("V", right))

    def state_of(self, shape: tuple[int, ...]) -> float:
        if len(shape) != 2:
            return float(math.prod(shape))
        return min(self.rank, shape[0]) * sum(shape) + shape[1] * min(self.k, self.rank, *shape)

    def drawn(self) -> tuple[Direction, Direction]:
        """Gaussian z on vectors and U (r, columns) on matrices, new at every call."""
        z = self.noise(on=vectors)
        return z, self.noise(shape=lambda p: (min(self.rank, p.shape[0]), p.shape[1]), on=matrices, label="u")

    def refresh(self) -> None:
        """A new P, M in its coordinates, and a new V: every `interval` steps, and where there is none yet."""
        due = {p.name for p in self.active if p.ndim == 2 and (self.t % self.interval == 0 or p not in self.p)}
        new = [
            self.noise(shape=shape, on=lambda p: p.name in due, every=self.interval, label=label).map(orthonormal)
            for label, shape in self.starts
        ]
        for p, basis, start in self.each(*new) if due else ():
            if self.carry == "projected":
                self.m[p].copy_(basis.T @ (self.p[p] @ self.m[p]))
            self.p[p].copy_(basis)
            self.v[p].copy_(start)

    def slopes(self, losses: Losses, ds: list[Direction]) -> tuple[Tensor, Tensor]:
        """A loss to show, and the slopes along the directions."""
        if self.looks == "one_sided":
            l0, *ls = losses(0, *(self.eps * d for d in ds))
            return l0, (wide(torch.stack(ls)) - wide(l0)) / self.eps
        ls = list(losses(*(sign * self.eps * d for d in ds for sign in (1, -1))))
        return ls[0], (wide(torch.stack(ls[::2])) - wide(torch.stack(ls[1::2]))) / (2 * self.eps)

    def iterate(self, losses: Losses) -> Tensor:
        zs, us = zip(*(self.drawn() for _ in range(self.queries)), strict=True)
        self.refresh()
        shown, cs = self.slopes(losses, [self.p @ u + z for u, z in zip(us, zs, strict=True)])
        first, *rest = (c / self.queries * (u + z) for c, u, z in zip(cs, us, zs, strict=True))
        kept: dict[str, Tensor] = {}
        for p, g in self.each(sum(rest, first)):
            m = self.m[p]
            m.copy_(torch.where((m == 0).all(), g, self.beta * m + (1 - self.beta) * g))  # on the device: no host sync
            if p.ndim == 2:
                v, kept[p.name] = leading(m, self.v[p])
                self.v[p].copy_(v)
        self.move(-self.vector_lr * (self.m * self.compute(lambda p: p.data.new_ones(()), on=vectors)))
        self.descend(self.p @ self.compute(lambda p: kept[p.name], on=lambda p: p.name in kept))
        return shown
>>>>>>> 83e57cf7 (ZO-MOPI: partial orthogonalisation of a subspace momentum by a step of power iteration)
