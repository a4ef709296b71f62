"""ZO-AdaMM, Chen et al. 2019."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Losses, Positive

from .adam import AdamMoments, Beta
from .norms import rms


class ZOAdaMM(AdamMoments):
    """AMSGrad on a one-sided estimate along directions from a sphere.

    Paper: ZO-AdaMM (arXiv:1910.06513, NeurIPS 2019), equation 1 and Algorithm 1: u uniform on the unit sphere;
    g = (d / mu) [L(theta + mu u) - L(theta)] u;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
    vhat <- max(vhat, v);  theta <- theta - lr m / sqrt(vhat).  The projection on a feasible set is void here.

    eps is the root mean square of a look's entries, mu = eps sqrt(d): with w = sqrt(d) u, whose entries have mean
    square 1, g is [L(theta + eps w) - L(theta)] / eps w, and eps compares with MeZO's. d counts entries that may move.

    Defaults: beta1 0.9, beta2 0.3, v and vhat from 1e-7 (the authors' universal.py); eps 1e-3 (MeZO's); q 1, where
    their code averages g over 10 directions. Learning rates: those of zo_adam times the ratio of the two methods' root
    mean square steps for Gaussian slopes: 5 after thousands of steps, 3 (small runs) in the first hundred. Forwards a
    step: q + 1. State: three fp32 values a parameter.

    What ZO-Bench (arXiv:2402.11592) runs under this citation is zo_adam here: a central difference along Gaussian
    directions, no maximum, bias correction, beta2 0.999.
    Public code (its lr falls as 1 / sqrt(t); the switch is off by default). Its scripts differ: one
    (imagenet_blackBox_attack2.py, beta2 0.9) divides by sqrt(vhat), as the paper; the other (universal.py, beta2 0.3)
      denominator="v"        divides by sqrt(v): the maximum enters the projection alone, so that an unconstrained
                             run is Adam's without bias correction. No vhat is kept: two values a parameter.
    direction="gaussian" takes w ~ N(0, I), which saves a pass of drawing; for many entries the two are the same.
    """

    reference: ClassVar[str] = "Chen et al. 2019, arXiv:1910.06513, Algorithm 1"
    public_code: ClassVar[str] = (
        "the authors' (licence not seen): in universal.py the maximum is void without a projection, in "
        "imagenet_blackBox_attack2.py it is not; ZO-LLM's of this name is zo_adam"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 3.0
    lr_grid: ClassVar[tuple[float, ...]] = (5e-7, 5e-6, 5e-5, 5e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (3e-4, 3e-3)

    eps: Positive = 1e-3
    """How far to look: the looks are at theta + eps times each direction."""
    q: Count = 1
    """Directions that the estimate averages; a step costs q + 1 forwards."""
    beta2: Beta = 0.3
    """Decay of the mean of the square of the gradient."""
    v_init: Positive = 1e-7
    """What v and vhat begin with: the root of vhat is divided by."""
    direction: Literal["sphere", "gaussian"] = "sphere"
    """What directions are drawn from (see above), where none are chosen for it."""
    denominator: Literal["max", "v"] = "max"
    """Whose root the step is divided by (see above)."""

    def setup(self) -> None:
        self.m, self.v = self.buffer("m"), self.buffer("v", init=self.v_init)
        self.vhat = self.buffer("vhat", init=self.v_init)

    def drawn(self) -> Direction:
        """One direction w, the mean square of whose entries is 1."""
        z = self.noise()
        return z / rms(self, z) if self.direction == "sphere" and self.family is None else z

    def iterate(self, losses: Losses) -> Tensor:
        ws = [self.drawn() for _ in range(self.q)]
        l0, *ls = losses(0, *(self.eps * w for w in ws))
        first, *rest = ((li - l0) / (self.eps * self.q) * w for li, w in zip(ls, ws, strict=True))
        for p, g in self.each(sum(rest, first)):
            self.take_in(p, g)
        if self.denominator == "max":
            self.vhat.assign(self.vhat.clamp(min=self.v))
        self.descend(self.m / (self.vhat if self.denominator == "max" else self.v).sqrt())
        return l0
