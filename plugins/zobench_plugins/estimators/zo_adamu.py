"""ZO-AdaMU, Jiang et al. 2024."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Fraction, Losses, Natural, Positive


class ZOAdaMU(Estimator):
    """Directions around the direction before, with an uncertainty that is annealed, and steps divided by their squares.

    Paper: ZO-AdaMU Optimizer: Adapting Perturbation by the Momentum and Uncertainty in Zeroth-order Optimization
    (arXiv:2312.15184), Algorithm 1 and equations 4 to 6:  a ~ N(0, alpha I);  b ~ N(m, (1 - alpha) I), m the direction
    of the step before;  m <- beta1 a + (1 - beta1) b;  v = beta2 a^2 + (1 - beta2) b^2;
    c = [L(theta + eps m) - L(theta - eps m)] / (2 eps);  theta <- theta - lr c m / sqrt(v + sigma).
    (Equation 6 has v^2 under the root, the algorithm's line 13 v; the algorithm's is taken. The sqrt(alpha) of the
    Gaussians is read as a deviation.)

    alpha, beta1 and beta2 are 1 for the first `warmup` steps, in which a step is lr c sign(m), then fall to 0.5, 0.9
    and 0.01 by step `annealed`, and stay (what the text says of the third phase). How they fall is ours, half a cosine:
    the paper's equation 7 does not fit that text, and the released code has another formula (`verified` False).

    Defaults: sigma 1e-8, eps 1e-3; warmup 1024 and annealed 16000 of 20000 steps (released: 80 % of the run). Learning
    rates are zo_sgd_sign's by the length of a step, those of the paper's runs are not known. Forwards a step: 2. State:
    m, one fp32 value a parameter.

    Public code: it looks along 0.9 b + 0.1 a and moves along another mixture; its schedule is advanced at every tensor;
    a call lacks an argument, so that it does not run.
    """

    reference: ClassVar[str] = "Jiang et al. 2024, arXiv:2312.15184, Algorithm 1"
    public_code: ClassVar[str] = (
        "MathIsAll/ZO-AdaMU (no licence): does not run as released; moves along another mixture than it looked along"
    )
    verified: ClassVar[bool | None] = False
    state_per_parameter: ClassVar[float] = 1.0
    forwards_per_step: ClassVar[int | None] = 2
    directions_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 5e-4)
    exercise: ClassVar[dict[str, object]] = {"warmup": 2, "annealed": 5}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    warmup: Natural = 1024
    """Steps in which directions are fresh noise."""
    annealed: Natural = 16000
    """The step from which on alpha, beta1 and beta2 stay; set it to 80 % of the run."""
    alpha: Fraction = 0.5
    """Share of variance that is around 0, at the end."""
    beta1: Fraction = 0.9
    """Weight in a direction of what is drawn around 0, at the end."""
    beta2: Fraction = 0.01
    """Weight in the squares of what is drawn around 0, at the end."""
    sigma: Positive = 1e-8
    """Added to the squares under the root."""

    def setup(self) -> None:
        self.m = self.buffer("m")

    def now(self, last: float) -> float:
        """What a value that ends at `last` is at this step."""
        if self.t < self.warmup or self.t >= self.annealed:
            return 1.0 if self.t < self.warmup else last
        done = (self.t - self.warmup) / (self.annealed - self.warmup)
        return last + (1 - last) * (1 + math.cos(math.pi * done)) / 2

    def iterate(self, losses: Losses) -> Tensor:
        alpha, beta1, beta2 = self.now(self.alpha), self.now(self.beta1), self.now(self.beta2)
        a = math.sqrt(alpha) * self.noise()
        b = self.m + math.sqrt(1 - alpha) * self.noise()
        m = beta1 * a + (1 - beta1) * b
        v = beta2 * a.square() + (1 - beta2) * b.square()
        lp, lm = losses(+self.eps * m, -self.eps * m)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * m / (v + self.sigma).sqrt())
        self.m.assign(m)
        return lp
