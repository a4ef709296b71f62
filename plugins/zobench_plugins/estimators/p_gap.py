"""P-GAP, Mi et al. 2025."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from zobench import Draws, Estimator, Losses

from ..directions.p_gap import EXERCISE, PROBING, PGAPDirections, PGAPSettings, kept


class PGAP(PGAPSettings, Estimator):
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

    own_directions: ClassVar[str] = (
        "they are its own; mezo with directions=p_gap is this method, and other estimators take them too"
    )
    reference: ClassVar[str] = "Mi et al. 2025, arXiv:2510.18228"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int | None] = 2
    extra_forwards_per_step: ClassVar[float] = PROBING
    exercise: ClassVar[Mapping[str, object]] = EXERCISE
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 5e-3)

    def setup(self) -> None:
        self.along = PGAPDirections(**{name: getattr(self, name) for name in PGAPSettings.__annotations__})

    def state_of(self, shape: tuple[int, ...]) -> float:
        return kept(self.rank, shape)

    def iterate(self, losses: Losses) -> Tensor:
        d = self.along.draw(Draws(self, None, 0))
        lp, lm = losses(+self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * d)
        return lp
