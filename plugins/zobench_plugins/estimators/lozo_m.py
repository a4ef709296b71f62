"""LOZO-M, Chen et al. 2024."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Algebra, Count, Losses, Range

from ..stacks import matrix_like, others, tall, wide
from .lozo import LOZO


class LOZOM(LOZO):
    """LOZO with momentum: the step follows a running mean of c U, which lives in the coordinates of V.

    Paper: Enhancing Zeroth-order Fine-tuning with Low-rank Structures (arXiv:2410.07698), LOZO-M. With c, U, V of
    LOZO:  N <- beta N + (1 - beta) c U;  W <- W - lr N V^T (the paper: / r, see lozo).  When V changes, N is carried
    over first: N <- N V_old^T V_new / n, which is the projection of N V_old^T, since V^T V is about n I. On tensors
    that are no matrices m <- beta m + (1 - beta) c z;  theta <- theta - lr m.

    A tensor that rests (a scope may change over the steps) keeps its N, and is carried over when it moves again.

    Defaults: rank 4, nu 100, eps 1e-3 (released README, on RoBERTa-large), beta 0.9 (released script; the code's own is
    0.7). Learning rates: the released 1e-7 and 1e-6; small runs: MeZO's by r. In the long run the mean moves as far as
    its terms would, so that a lr of lozo at the same rank stays one here. Forwards a step: 2. State: N and the V that
    it is of, r (m + n) fp32 values a matrix; one fp32 value a parameter on other tensors. With beta 0 it is lozo.

    Public code (beside the switches of lozo, whose faults it has; off by default):
      start="as_released"   the first step takes c U whole, as if beta were 0; the recursion alone starts from N = 0.
    """

    own_directions: ClassVar[str] = (
        "its momentum lives in the coordinates of its own; zo_sgd_momentum takes directions=lozo"
    )
    reference: ClassVar[str] = "Chen et al. 2024, arXiv:2410.07698, LOZO-M"
    public_code: ClassVar[str] = (
        "optsuite/LOZO (no licence seen), for RoBERTa only: the faults of lozo; the first step takes c U whole"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (2.5e-5, 1.25e-4)
    moves_along_looks: ClassVar[bool] = False

    rank: Count = 4
    """Columns of U and V."""
    nu: Count = 100
    """Steps for which V is held."""
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Decay of the running mean."""
    start: Literal["zero", "as_released"] = "zero"
    """Whether the mean starts from zero or from the first step's value (see above)."""

    def setup(self) -> None:
        rank = self.rank  # not self: buffers may not keep their estimator alive
        self.n = self.buffer("n", shape=lambda p: tall(p, rank), on=matrix_like)
        self.v = self.buffer("v", shape=lambda p: wide(p, rank), on=matrix_like)
        self.m = self.buffer("m", on=others)

    def state_of(self, shape: tuple[int, ...]) -> float:
        return self.rank * sum(shape) if len(shape) == 2 else math.prod(shape)

    def carry(self, v: Algebra) -> None:
        """N into the coordinates of this V, where it is of another."""
        for p, new in self.each(v):
            n, old = self.n[p], self.v[p]
            same = (old == new).all()  # on the device: no host sync
            n.copy_(torch.where(same, n, n @ (old.mT @ new) / new.shape[-2]))
            old.copy_(new)

    def iterate(self, losses: Losses) -> Tensor:
        v, (u, z) = self.held(), self.drawn()
        self.carry(v)
        d = u @ v.T + z
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        if self.refresh == "as_released" and self.t % self.nu == 0:
            u, z = self.drawn()
        beta = 0.0 if self.start == "as_released" and self.t == 0 else self.beta
        self.n.assign(beta * self.n + (1 - beta) * c * u)
        self.m.assign(beta * self.m + (1 - beta) * c * z)
        self.descend(self.n @ v.T / (self.rank if self.scale == "paper" else 1) + self.m)
        return lp
