"""TeZO, Sun et al. 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Estimator, Handle, Losses, Positive

from ..directions.tezo import FOREVER
from ..stacks import mark, matrix_like, others, tall, wide
from .adam import Beta


class TeZO(Estimator):
    """Directions of low rank over matrices and time, and moments that live in the r coordinates of each matrix.

    Paper: TeZO (arXiv:2501.19057): U (m, r), V (n, r) ~ N(0, 1), drawn once a run; at every step tau ~ N(0, I_r),
    Z = U diag(tau) V^T;  c = [L(theta + eps Z) - L(theta - eps Z)] / (2 eps).  On tensors that are no matrices Z is
    Gaussian, and what is said of tau holds for it entry by entry.
      form="sgd"        W <- W - lr c Z: TeZO, which is `mezo` with directions=tezo;
      form="momentum"   tau_m <- beta1 tau_m + (1 - beta1) c tau;  W <- W - lr U diag(tau_m) V^T: TeZO-m;
      form="adam"       also tau_v <- beta2 tau_v + (1 - beta2) (c tau)^2;
                        W <- W - lr U diag(tau_m) V^T / sqrt((U*U) diag(tau_v) (V*V)^T + delta): TeZO-Adam, whose
                        second moment keeps the squares of the r terms and leaves out their products.

    Not verified: of the paper a public summary was to be had, which has the equations of form "sgd" and says that
    the other two keep statistics of tau alone, and reviews, by which its second moment is separable, without products
    of terms, and its ranks, chosen for each layer by singular values, are 31.5 on average on OPT-13B; the betas (0.9,
    0.99), delta (1e-8) and one rank for all (24) are ours. Learning rates: MeZO's by the mean
    square of Z, r (form sgd). Forwards a step: 2. State: form sgd none, momentum r values a matrix, adam 2 r; one or
    two a parameter on other tensors.
    """

    own_directions: ClassVar[str] = (
        "they are its own, and its moments live in their coordinates; other estimators take directions=tezo"
    )
    reference: ClassVar[str] = "Sun et al. 2025, arXiv:2501.19057"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (5e-9, 2e-8, 5e-8, 2e-7)
    small_lrs: ClassVar[tuple[float, ...]] = (4e-6, 2e-5)
    moves_along_looks: ClassVar[bool] = False
    exercise: ClassVar[Mapping[str, object]] = {"rank": 3}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    rank: Count = 24
    """Matrices of rank 1 that a direction is made of."""
    form: Literal["sgd", "momentum", "adam"] = "sgd"
    """What is kept of tau (see above)."""
    beta1: Beta = 0.9
    """Decay of the mean of c tau."""
    beta2: Beta = 0.99
    """Decay of the mean of its square."""
    delta: Positive = 1e-8
    """Added to the second moment under the root."""

    def setup(self) -> None:
        rank, form = self.rank, self.form  # not self: buffers may not keep their estimator alive
        self.m = self.buffer("m", shape=lambda p: _coordinates(p, rank), on=lambda p: form != "sgd")
        self.v = self.buffer("v", shape=lambda p: _coordinates(p, rank), on=lambda p: form == "adam")

    def state_of(self, shape: tuple[int, ...]) -> float:
        kept = {"sgd": 0, "momentum": 1, "adam": 2}[self.form]
        return kept * (self.rank if len(shape) == 2 else math.prod(shape))

    def iterate(self, losses: Losses) -> Tensor:
        u = self.noise(shape=lambda p: tall(p, self.rank), on=matrix_like, every=FOREVER, label="tezo-u")
        v = self.noise(shape=lambda p: wide(p, self.rank), on=matrix_like, every=FOREVER, label="tezo-v")
        tau = self.noise(shape=lambda p: _coordinates(p, self.rank), on=matrix_like, label="tau")
        z = self.noise(on=others)
        d = (u * tau) @ v.T + z
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        if self.form == "sgd":
            self.descend(c * d)
        else:
            self.remember(c * (tau + z))
            self.descend(self.step_of(u, v))
        return lp

    def remember(self, g: Direction) -> None:
        """The moments take in c tau, on tensors that are no matrices c z."""
        self.m.assign(self.beta1 * self.m + (1 - self.beta1) * g)
        if self.form == "adam":
            self.v.assign(self.beta2 * self.v + (1 - self.beta2) * g.square())

    def step_of(self, u: Direction, v: Direction) -> Direction:
        """The step: of the coordinates of matrices lifted, of others as they are."""
        on, off = mark(self, matrix_like), mark(self, others)
        m = (u * (on * self.m)) @ v.T + off * self.m
        if self.form == "momentum":
            return m
        square = (u.square() * (on * self.v)) @ v.square().T + off * self.v
        return m / (square + self.delta).sqrt()


def _coordinates(p: Handle, rank: int) -> tuple[int, ...]:
    """The shape of tau: (1, r), one for each matrix of a stack; of other tensors their own."""
    return (*p.shape[:-2], 1, rank) if matrix_like(p) else tuple(p.shape)
