"""ZO-Adam, Zhang et al. 2024 (ZO-Bench)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Losses, Positive

from .adam import Adam


class ZOAdam(Adam):
    """Adam on MeZO's gradient estimate c z.

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning (arXiv:2402.11592), section 3
    and appendix A.

    Defaults: betas 0.9 and 0.999, delta 1e-8 (torch's), eps 1e-3; learning rates from the released sweeps (1e-4 to
    1e-8). Weight decay is decoupled, as everywhere here. Forwards a step: 2. State: two fp32 values a parameter.

    Public code: it keeps both moments in the dtype of the model, where in 16 bit they underflow; weight decay is
    never passed on. ZO-AdaMM (Chen et al. 2019, arXiv:1910.06513) is another method: one-sided, on the sphere.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, appendix A"
    public_code: ClassVar[str] = (
        "ZO-Bench/ZO-LLM (GPL-3.0): moments in the model's dtype underflow in 16 bit; weight decay is never passed on"
    )
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 2.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.descend(self.preconditioned(c * z))
        return lp
