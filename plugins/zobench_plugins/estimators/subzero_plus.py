"""SubZero+, Yu et al. 2026."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Count, Direction, Handle, Losses, Planned, Positive, wide

from ..stacks import mark, matrix_like, others, sides, tall
from ..stacks import wide as right
from .adam import Adam, Beta
from .subzero import factors, refuse_narrow


def haar(x: Tensor) -> Tensor:
    """Q of the decomposition x = Q R whose R has no negative diagonal: for a Gaussian x, Haar-distributed (eq. 11)."""
    q, r = torch.linalg.qr(x)
    signs = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(q)
    out: Tensor = q * signs[..., None, :]
    return out


class SubZeroPlus(Adam):
    """Many one-sided looks in SubZero's subspace of each matrix, and Adam in its r x r coordinates.

    Paper: SubZero+: Efficient Zeroth-Order LLM Fine-Tuning via Large Learning Rates (arXiv:2608.15665), Algorithm 3
    and equations 4 to 11:  U (m, r), V (n, r) of QR decompositions of Gaussian matrices whose R has a positive
    diagonal, new every `interval` steps;  Z_k (r, r) ~ N(0, 1), k = 1..K;
    rho_k = [L(theta + eps U Z_k V^T) - L(theta)] / eps;  G = (1 / K) sum_k rho_k Z_k;
    M <- beta1 M + (1 - beta1) G;  S <- beta2 S + (1 - beta2) G^2;
    W <- W - lr U (Mhat / (sqrt(Shat) + delta)) V^T,  with Adam's bias corrections. Moments stay as they are when U and
    V are drawn anew. update="sgd" is the paper's other variant, W <- W - lr U G V^T.

    Defaults: queries 99, beta1 0.9, beta2 0.95, delta 1e-8 (section 5.1), eps 1e-3 and the learning rates (table 7);
    rank 128 (of all models but OPT-1.3B, 16) and interval 100, of {50, 100}. The rank of a matrix is at most its
    smaller side. A look is shorter than MeZO's, r against sqrt(m n). `verified` False: the paper knows matrices alone;
    norms and biases look along Gaussian noise here and have Adam entry by entry.

    Forwards a step: queries + 1. State: U and V, computed again from their seeds on resuming, and two r x r moments a
    matrix; two values a parameter on other tensors. Of a tensor that holds the matrices of all experts of a block,
    each has its own. Refused on adapters and prefixes, as subzero is.
    """

    own_directions: ClassVar[str] = "its moments live in the coordinates of its own subspace"
    reference: ClassVar[str] = "Yu et al. 2026, arXiv:2608.15665, Algorithm 3"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 100
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 5e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 1e-2)
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 3, "queries": 2}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    queries: Count = 99
    """Directions a step, K; it costs one forward more."""
    rank: Count = 128
    """Columns of U and V, where a matrix has as many rows and columns."""
    interval: Count = 100
    """Steps for which U and V are held."""
    update: Literal["adam", "sgd"] = "adam"
    """Whether G is made a step by Adam or is one."""
    beta2: Beta = 0.95
    """Decay of the mean of its square."""

    @classmethod
    def check(cls, settings: Mapping[str, Any], planned: Planned) -> None:
        """ZobenchError for adapters and prefixes."""
        super().check(settings, planned)
        refuse_narrow(planned, "subzero_plus")

    def setup(self) -> None:
        core = partial(coordinates, self.rank)  # not self: buffers may not keep their estimator alive
        adam = self.update == "adam"
        self.m = self.buffer("m", shape=core, on=lambda p: adam)
        self.v = self.buffer("v", shape=core, on=lambda p: adam)
        self.n = self.buffer("n", shape=lambda p: (), on=lambda p: adam)

    def state_of(self, shape: tuple[int, ...]) -> float:
        kept = 2 if self.update == "adam" else 0
        if len(shape) != 2:
            return kept * math.prod(shape)
        return kept * min(self.rank, *shape) ** 2 + factors(self.rank, shape)

    def basis(self, side: Callable[[Handle, int], tuple[int, ...]], label: str) -> Direction:
        """U or V, kept as long as it is held."""
        return self.noise(
            shape=lambda p: side(p, min(self.rank, *sides(p))), on=matrix_like, every=self.interval, label=label
        ).map(haar, keep=True)

    def iterate(self, losses: Losses) -> Tensor:
        u, v = self.basis(tall, "U"), self.basis(right, "V")
        zs = [
            (self.noise(shape=partial(coordinates, self.rank), on=matrix_like), self.noise(on=others))
            for _ in range(self.queries)
        ]
        l0, *ls = losses(0, *(self.eps * (u @ z @ v.T + w) for z, w in zs))
        rhos = [(wide(one) - wide(l0)) / (self.eps * self.queries) for one in ls]
        first, *rest = (rho * (z + w) for rho, (z, w) in zip(rhos, zs, strict=True))
        g = sum(rest, first)
        step = self.preconditioned(g) if self.update == "adam" else self.freeze(g)
        self.descend(u @ step @ v.T + mark(self, others) * step)
        return l0


def coordinates(rank: int, p: Handle) -> tuple[int, ...]:
    """The shape of Z: (r, r), one for each matrix of a stack; of other tensors their own."""
    return (*p.shape[:-2], *(min(rank, *sides(p)),) * 2) if matrix_like(p) else tuple(p.shape)
