"""HiZOO, Zhao et al. 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses, NonNegative, Positive, wide


class HiZOO(Estimator):
    """Directions scaled by a running diagonal curvature H, which the move uses in its new value.

    Paper: Second-Order Fine-Tuning without Pain for LLMs (arXiv:2402.15173), Algorithm 1, with H = Sigma^-1:
    d = z / sqrt(H);  c = [L(theta + eps d) - L(theta - eps d)] / (2 eps);
    h = |L(theta + eps d) + L(theta - eps d) - 2 L(theta)| / (2 eps^2) * H z^2;
    H <- (1 - alpha) H + alpha h;  theta <- theta - lr c z / sqrt(H).

    Defaults: alpha 1e-8 constant (released README), eps 1e-3, lr 1e-6. Forwards a step: 3. State: H, one fp32 value a
    parameter; with alpha 0 it is MeZO with one look more.

    Public code: it keeps H in the dtype of the model, where in 16 bit the increments of alpha 1e-8 round away and H
    stays 1; here H is fp32. Its script's default schedule, `constant0`, turns the curvature off. It also decays
    biases and norms, and looks a fourth time after the move, only to show that loss.
    """

    reference: ClassVar[str] = "Zhao et al. 2024, arXiv:2402.15173, Algorithm 1"
    public_code: ClassVar[str] = (
        "Yanjun-Zhao/HiZOO (no licence seen): H in the model's dtype stays 1 in 16 bit; the default schedule "
        "turns it off"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 3
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    state_per_parameter: ClassVar[float] = 1.0
    neutral: ClassVar[Mapping[str, object] | None] = {"alpha": 0.0}
    exercise: ClassVar[Mapping[str, object]] = {"alpha": 1e-2}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    alpha: NonNegative = 1e-8
    """Weight of the new curvature in its running mean."""

    def setup(self) -> None:
        self.h = self.buffer("h", init=1.0)

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        d = z / self.h.sqrt()
        l0, lp, lm = losses(0, +self.eps * d, -self.eps * d)
        c = (lp - lm) / (2 * self.eps)
        second = wide(lp) + wide(lm) - 2 * wide(l0)  # in float16 it would round, and 1 / eps^2 overflow
        curvature = second.abs() / (2 * self.eps**2)
        self.h.assign((1 - self.alpha) * self.h + self.alpha * curvature * (self.h * z.square()))
        self.descend(c * (z / self.h.sqrt()))
        return l0
