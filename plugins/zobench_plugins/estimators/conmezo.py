"""ConMeZO, Behric et al. 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import Tensor

from zobench import Estimator, Losses, Natural, Positive, Range, wide

from .norms import reciprocal, rms


class ConMeZO(Estimator):
    """Directions on a cone around a momentum of the steps before.

    Paper: ConMeZO: Adaptive Descent-Direction Sampling (arXiv:2511.02757), Algorithm 1 and equation 6: u ~ N(0, I);
    z = sqrt(d) cos(angle) m / |m| + sin(angle) u, d the number of parameters and |m| over all of them;
    c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);  theta <- theta - lr c z;  m <- beta m + (1 - beta) c z.
    The first step has no m: z = u.

    z is as long as MeZO's, so eps and lr are MeZO's. At the default angle, 1.35 of pi / 2 = 1.57, a twentieth of
    |z|^2 is along m: zo_sgd_momentum has the same state and is the control.

    `warmup`: over the first tenth of it beta is at most 0.1, then it rises, fast at first, to its value (as released).
    Defaults: angle 1.35, beta 0.95 (released README; 0.99 is the script's for OPT), warmup 2000, eps 1e-3. Learning
    rates: 1e-7 on OPT and 1e-6 on RoBERTa-large (released scripts). Forwards a step: 2. State: m, one fp32 value a
    parameter. With angle pi / 2 it is MeZO.

    Public code: m is in the dtype of the model, begins as noise, and its length is not measured but carried on as it
    would be on average.
    """

    reference: ClassVar[str] = "Behric et al. 2025, arXiv:2511.02757, Algorithm 1"
    public_code: ClassVar[str] = (
        "LejsDeen/ConMeZO (MIT): m in the model's dtype, from noise; its length is assumed, not measured"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 1.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6)
    neutral: ClassVar[Mapping[str, object] | None] = {"angle": math.pi / 2}
    exercise: ClassVar[Mapping[str, object]] = {"warmup": 5}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    angle: Annotated[float, Range(ge=0, le=math.pi / 2)] = 1.35
    """Angle of the cone, in radians: 0 is along m alone, pi / 2 does not look at m."""
    beta: Annotated[float, Range(ge=0, lt=1)] = 0.95
    """Decay of m, from the end of the warm-up on."""
    warmup: Natural = 2000
    """Steps until beta has its value; 0: it has it at once."""

    def setup(self) -> None:
        self.m = self.buffer("m")

    def decay(self) -> float:
        """The beta of this step."""
        first = min(0.1, self.beta)
        done = (self.t - 0.1 * self.warmup) / (0.9 * self.warmup) if self.warmup else 1.0
        if done >= 1 or done <= 0:
            return self.beta if done >= 1 else first
        return self.beta - (self.beta - first) / math.pow(1 + 8 * math.pow(done, 1.8), 3)

    def iterate(self, losses: Losses) -> Tensor:
        u = self.noise()
        length = wide(rms(self, +self.m))  # |m| / sqrt(d)
        sin = math.sin(self.angle)
        cos = math.sqrt(1 - sin**2)  # exactly 0 at pi / 2, which math.cos is not
        z = cos * reciprocal(length) * self.m + (1 - (1 - sin) * (length > 0).to(length)) * u
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(c * z)
        beta = self.decay()
        self.m.assign(beta * self.m + (1 - beta) * c * z)
        return lp
