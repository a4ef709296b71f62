"""ZO-SGD that looks before it goes, Zhang et al. 2024 (ZO-Bench)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from zobench import Estimator, Losses, Positive


class ZOSGDConservative(Estimator):
    """MeZO's step forwards, backwards, or not at all: whichever has the lowest loss on the batch (ZO-SGD-Cons).

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning (arXiv:2402.11592), section 3 and
    appendix A:  g = [L(theta + eps z) - L(theta - eps z)] / (2 eps) z;
    theta <- argmin of L over {theta, theta - lr g, theta + lr g}.
    The candidates are compared without weight decay, which is applied to whichever is taken.

    Defaults: eps 1e-3 and the learning rates of the released sweeps, 1e-8 to 1e-5, without the lowest; small runs:
    mezo's. Forwards a step: 5. State: none.

    Public code (the first has a switch, off by default):
      ties="as_released"   of equal losses it prefers back, then forwards: where all three are equal, as small steps
                           make them in 16 bit, it goes uphill. ties="stay" prefers staying, then forwards.
    Its released configurations name no optimizer, so that its steps are AdamW's and going -2 steps does not undo
    +1: what it then keeps is none of the three candidates. Here they are exact.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, appendix A"
    public_code: ClassVar[str] = (
        "ZO-Bench/ZO-LLM (GPL-3.0): its configurations run AdamW, which does not undo steps; ties go uphill"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 5
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5)

    eps: Positive = 1e-3
    """How far to look: the first looks are at theta +- eps times the direction."""
    ties: Literal["stay", "as_released"] = "stay"
    """What is preferred among equal losses (see above)."""

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        l0, lp, lm = losses(0, +self.eps * z, -self.eps * z)
        g = (lp - lm) / (2 * self.eps) * z
        ahead = self.descent(g)
        l_ahead, l_back = losses(ahead, -ahead)
        stay = self.ties == "stay"  # argmin takes the first of equals
        best = torch.stack((l0, l_ahead, l_back) if stay else (l_back, l_ahead, l0)).argmin()
        ahead_at, back_at = (1, 2) if stay else (1, 0)
        sign = (best == ahead_at).float() - (best == back_at).float()  # computed where losses are: no host sync
        self.descend(sign * g)
        return l0
