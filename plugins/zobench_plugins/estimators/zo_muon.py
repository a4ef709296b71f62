"""ZO-Muon, Lang et al. 2026."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from zobench import Count, Direction, Estimator, Losses, NonNegative, Positive, matrices, vectors, wide

from ..stacks import refuse_stacks
from .subzero import orthonormal


def unit(g: Tensor) -> Tensor:
    """`g` divided by its Frobenius norm; zeros stay."""
    length: Tensor = g.norm().clamp_min(torch.finfo(g.dtype).tiny)
    return g / length


def newton_schulz(g: Tensor) -> Tensor:
    """About msign(g): five quintic steps bring singular values to between 0.7 and 1.2 (Jordan et al. 2024, Muon)."""
    x = unit(g.T if g.shape[0] > g.shape[1] else g)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def matrix_sign(g: Tensor) -> Tensor:
    """Exact msign(g) = U V^T of the decomposition g = U S V^T; zeros stay."""
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    sign: Tensor = u @ vh * (g.norm() > 0)
    return sign


def as_long(g: Tensor) -> Tensor:
    """`g` made as long as msign(g) is, which leaves its direction alone."""
    return unit(g) * math.sqrt(min(g.shape))


CORES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "muon": newton_schulz,
    "svd": matrix_sign,
    "norm": as_long,
    "sgd": torch.clone,
}


class ZOMuon(Estimator):
    """Several one-sided looks in a held subspace of each matrix; what they say is orthogonalised and lifted back.

    Paper: Powering Up Zeroth-Order Training via Subspace Gradient Orthogonalization (arXiv:2602.17155), its algorithm:
    P (m, r) orthonormal, new every `interval` steps; U_i (r, columns) ~ N(0, 1), i = 1 ... n;
    c_i = [L(theta + eps P U_i) - L(theta)] / eps;  G = (1 / n) sum_i c_i U_i;  W <- W - lr P msign(G).  msign sets all
    singular values to 1, so that a step's length, lr sqrt(min(r, columns)), does not depend on the slopes. On tensors
    that are no matrices d is Gaussian, and they move by vector_lr times the mean of c_i z_i.

    `update` says what becomes of G: "muon" five Newton-Schulz steps (the paper), "svd" msign exactly, "norm" G itself
    made as long as msign(G) (the control for what orthogonalising adds to a set length: for wide G it is little, as the
    singular values of a few Gaussian matrices' sum are nearly equal), "sgd" G as it is.

    Defaults: queries 4, rank 64, interval 100, eps 1e-3, lr 1e-2, vector_lr 1e-7 (released README and code). The grid
    goes down from that lr. Forwards a step: queries + 1. State: P, r m fp32 values a matrix, computed again from its
    seed on resuming. The rank of a matrix is at most its rows. Weight decay is for matrices alone. A
    tensor that holds the matrices of all experts of a block is refused.

    Public code: directions are kept, not drawn again; the Newton-Schulz steps run in the dtype of the model, where in
    float16 the norm overflows at large slopes and the step becomes 0. Its option sgd looks once, on both sides.
      refresh="as_released"   at a step that draws a new P every look has a P of its own, and the move has the last.
    """

    own_directions: ClassVar[str] = "what it orthogonalises lies in the coordinates of its own subspace"
    reference: ClassVar[str] = "Lang et al. 2026, arXiv:2602.17155"
    public_code: ClassVar[str] = (
        "OPTML-Group/ZO-Muon (MIT): at a refresh looks have other P than the move; in float16 large slopes give no step"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 5
    lr_grid: ClassVar[tuple[float, ...]] = (1e-3, 5e-3, 1e-2)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-4, 5e-3)
    exercise: ClassVar[Mapping[str, object]] = {"interval": 3, "rank": 4, "queries": 2}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    queries: Count = 4
    """Directions a step; it costs one forward more."""
    rank: Count = 64
    """Columns of P, where a matrix has as many rows."""
    interval: Count = 100
    """Steps for which P is held."""
    vector_lr: NonNegative = 1e-7
    """Learning rate of tensors that are no matrices; no schedule changes it."""
    update: Literal["muon", "svd", "norm", "sgd"] = "muon"
    """What becomes of the mean G (see above)."""
    refresh: Literal["sound", "as_released"] = "sound"
    """Whether the step that draws a new P repeats the released fault (see above)."""

    def setup(self) -> None:
        refuse_stacks("zo_muon", self.handles, "choose a scope without experts")

    def state_of(self, shape: tuple[int, ...]) -> float:
        return min(self.rank, shape[0]) * shape[0] if len(shape) == 2 else 0.0

    def gaussian(self, every: int = 0) -> Direction:
        """What P is made of (m, r)."""
        return self.noise(shape=lambda p: (p.shape[0], min(self.rank, p.shape[0])), on=matrices, every=every, label="P")

    def drawn(self) -> tuple[Direction, Direction]:
        """Gaussian z on vectors and U (r, n) on matrices, new at every call."""
        z = self.noise(on=vectors)
        return z, self.noise(shape=lambda p: (min(self.rank, p.shape[0]), p.shape[1]), on=matrices, label="u")

    def iterate(self, losses: Losses) -> Tensor:
        zs, us = zip(*(self.drawn() for _ in range(self.queries)), strict=True)
        held = self.gaussian(every=self.interval).map(orthonormal, keep=True)
        ps = [held] * self.queries
        if self.refresh == "as_released" and self.t % self.interval == 0:
            ps = [self.gaussian().map(orthonormal) for _ in ps[1:]] + [held]
        l0, *ls = losses(0, *(self.eps * (p @ u + z) for p, u, z in zip(ps, us, zs, strict=True)))
        cs = [(wide(one) - wide(l0)) / (self.eps * self.queries) for one in ls]
        self.move(-self.vector_lr * _sum(cs, zs))
        self.descend(held @ _sum(cs, us).map(CORES[self.update]))
        return l0


def _sum(cs: list[Tensor], directions: tuple[Direction, ...]) -> Direction:
    first, *rest = (c * d for c, d in zip(cs, directions, strict=True))
    return sum(rest, first)
