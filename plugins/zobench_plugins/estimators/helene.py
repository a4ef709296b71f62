"""HELENE, Zhao et al. 2024."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from torch import Tensor

from zobench import Count, Estimator, Handle, Losses, NonNegative, Positive, Range

Beta = Annotated[float, Range(ge=0, lt=1)]


class HELENE(Estimator):
    """Momentum with an annealed gradient, over a diagonal curvature clipped from below, layer by layer.

    Paper: HELENE (arXiv:2411.10696; EMNLP 2025): g = c z, MeZO's;  alpha = beta1 + (1 - beta1) exp(-t / T);
    m <- beta1 m + alpha g;  every k steps h <- beta2 h + (1 - beta2) B g^2;
    theta <- theta - lr m / (gamma max(h, lambda_i) + delta), on layer i.
    The curvature is A-GNB, a Gauss-Newton diagonal from the true labels; of forwards alone g^2 is all there is of it.

    No code was released, and the paper could not be consulted beyond its abstract and a public summary of its
    equations: every constant is a guess (`verified` False), and its numbers are not to be compared with the paper's.
    T is to be the steps of the run, which an estimator does not know. The factor B (Sophia's is the batch size) is
    `scale`. lambda_i is `floor` for all layers, or floor / (2 sqrt d_i) on a tensor of d_i entries (clip="dimension",
    as in the paper's theory, as far as known); a "layer" here is one tensor.

    While h is below the floor of 1, the root mean square of the step is lr |c| / sqrt(1 - beta1^2), 2.3 times MeZO's;
    the grid is MeZO's, divided by that. Under clip="dimension" the step is 2 sqrt(d_i) times larger.

    Forwards a step: 2. State: m and h, two fp32 values a parameter.
    """

    reference: ClassVar[str] = "Zhao et al. 2024, arXiv:2411.10696"
    public_code: ClassVar[str] = "none released"
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (5e-8, 2e-7, 5e-7, 2e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (5e-5, 2e-4)
    verified: ClassVar[bool | None] = False
    state_per_parameter: ClassVar[float] = 2.0
    neutral: ClassVar[Mapping[str, object] | None] = {
        "beta1": 0.0,
        "horizon": 10**18,
        "scale": 0.0,
        "floor": 1.0,
        "delta": 0.0,
    }
    exercise: ClassVar[Mapping[str, object]] = {"every": 3, "beta2": 0.5, "horizon": 5, "floor": 0.1}
    moves_along_looks: ClassVar[bool] = False

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    beta1: Beta = 0.9
    """Decay of the momentum."""
    beta2: Beta = 0.99
    """Decay of the curvature, at each of its refreshes."""
    every: Count = 10
    """k: steps between refreshes of the curvature."""
    horizon: Count = 10_000
    """T: steps in which the weight of a new gradient falls from 1 towards beta1; set it to the steps of the run."""
    gamma: Positive = 1.0
    """Factor of the clipped curvature."""
    floor: Positive = 1.0
    """What the curvature is at least (see `clip`)."""
    clip: Literal["constant", "dimension"] = "constant"
    """Whether the floor is the same for all tensors, or falls with the root of their size (see above)."""
    scale: NonNegative = 1.0
    """B: factor of g^2 in the curvature."""
    delta: NonNegative = 1e-8
    """Added to the denominator."""

    def setup(self) -> None:
        self.m, self.h = self.buffer("m"), self.buffer("h")
        self.bound = self.buffer("bound", init=self.lowest, shape=lambda p: ()) if self.clip == "dimension" else None

    def lowest(self, p: Handle) -> Tensor:
        """The lambda of one tensor of d entries: floor / (2 sqrt d)."""
        return p.data.new_full((), self.floor / (2 * math.sqrt(p.shape.numel())), dtype=p.dtype)

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        g = (lp - lm) / (2 * self.eps) * z
        alpha = self.beta1 + (1 - self.beta1) * math.exp(-self.t / self.horizon)
        self.m.assign(self.beta1 * self.m + alpha * g)
        if self.t % self.every == 0:
            self.h.assign(self.beta2 * self.h + (1 - self.beta2) * self.scale * g.square())
        clipped = self.h.clamp(min=self.floor if self.bound is None else self.bound)
        self.descend(self.m / (self.gamma * clipped + self.delta))
        return lp
