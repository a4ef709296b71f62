"""BSZO, Feng and Huang 2026."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from zobench import Count, Direction, Estimator, Losses, Positive, Range, wide


class BSZO(Estimator):
    """Slopes along k directions as noisy observations of a Gaussian gradient; the step is along its posterior mean.

    Paper: Robust and Efficient Zeroth-Order LLM Fine-Tuning via Adaptive Bayesian Subspace Optimizer
    (arXiv:2601.01452). g in the span of z_1 ... z_k ~ N(0, I) has the prior N(0, sigma_p^2 I), mean mu and variances S.
    Along each z_j in turn y_j = [L(theta + eps z_j) - L(theta)] / eps, and with residual r = y_j - mu_j:
    v <- (1 - alpha) v + alpha r^2,  sigma^2 = max(v, (sigma_e / 10)^2),  K = S_j / (S_j + sigma^2),
    mu_j <- mu_j + K r,  S_j <- (1 - K) S_j.
    The observations beyond k are of the direction with the largest S_j. Then theta <- theta - lr sum_j mu_j z_j.
    v goes on from step to step, and starts at sigma_e^2; mu and S start anew.

    The paper could not be read beyond its abstract: this is the released code (bszo_optimizer_v3.py and README at
    63d87bf), of which it is verified; what that adds to S against rounding, 1e-10, is left out. There an observation
    beyond k is no new look: y_j of the step is counted once more (version 3), or taken again on the same batch
    (version 4, the same number for one forward more). What it comes to is the mean of one-sided slopes along k
    directions, drawn towards 0 by how much v has been. `samples` = k counts each look once.

    Defaults: k 2, samples 3, sigma_p = sigma_e = sqrt(d / 10^6) with d the entries of the scope, alpha 0.1, eps 1e-4
    and lr 1e-7 (released README); the grid goes up to MeZO's, whose steps are about as long. Forwards a step: k + 1.
    State: one number.
    """

    reference: ClassVar[str] = "Feng and Huang 2026, arXiv:2601.01452"
    public_code: ClassVar[str] = (
        "AeonianQuill/BSZO (no licence): counts a look twice as if it were two; says 4 forwards a step and makes 3"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 3
    directions_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (2.5e-5, 1.25e-4)

    eps: Positive = 1e-4
    """How far to look: the looks are at theta + eps times each direction."""
    k: Count = 2
    """Directions a step."""
    samples: Count = 3
    """Observations a step: those beyond k are of looks that were made."""
    prior: Positive | None = None
    """sigma_p, the prior's deviation; none: sqrt(d / 10^6)."""
    noise_level: Positive | None = None
    """sigma_e, the deviation of the noise at first; none: sqrt(d / 10^6)."""
    alpha: Annotated[float, Range(gt=0, le=1)] = 0.1
    """How much the newest residual counts in v."""
    looks: Literal["one_sided", "two_sided"] = "one_sided"
    """Differences from the loss at theta (released README), or central ones, at 2 k forwards."""

    def setup(self) -> None:
        self.first = self.handles[0]  # the one number is kept beside it, whether it moves or not
        start, first = self.level(self.noise_level) ** 2, self.first
        self.v = self.buffer(
            "v", lambda p: p.data.new_full((), start, dtype=p.dtype), shape=lambda p: (), on=lambda p: p is first
        )

    def level(self, said: float | None) -> float:
        """A deviation: what was said, or what the size of the scope makes it."""
        return (sum(p.shape.numel() for p in self.handles) / 1e6) ** 0.5 if said is None else said

    def slopes(self, losses: Losses, zs: list[Direction]) -> tuple[Tensor, Tensor]:
        """A loss to show, and the slopes (k), float64 where the device has it."""
        if self.looks == "one_sided":
            l0, *ls = losses(0, *(self.eps * z for z in zs))
            return l0, (wide(torch.stack(ls)) - wide(l0)) / self.eps
        ls = list(losses(*(sign * self.eps * z for z in zs for sign in (1, -1))))
        return ls[0], (wide(torch.stack(ls[::2])) - wide(torch.stack(ls[1::2]))) / (2 * self.eps)

    def iterate(self, losses: Losses) -> Tensor:
        zs = [self.noise() for _ in range(min(self.k, self.samples))]
        shown, y = self.slopes(losses, zs)
        mu, s = torch.zeros_like(y), torch.full_like(y, self.level(self.prior) ** 2)
        v, least = self.v[self.first].to(y), (self.level(self.noise_level) / 10) ** 2
        for n in range(self.samples):
            at = torch.arange(len(zs), device=y.device) == (n if n < self.k else s.argmax())  # no host sync
            r = ((y - mu) * at).sum()
            v = (1 - self.alpha) * v + self.alpha * r.square()
            gain = (s * at) / (s + v.clamp_min(least))
            mu, s = mu + gain * r, (1 - gain) * s
        first, *rest = (m * z for m, z in zip(mu, zs, strict=True))
        self.descend(sum(rest, first))
        self.v[self.first] = v.to(self.v[self.first])
        return shown
