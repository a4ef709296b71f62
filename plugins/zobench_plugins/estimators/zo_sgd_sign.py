"""ZO-SGD by signs, Zhang et al. 2024 (ZO-Bench)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from zobench import Losses, Positive

from .adam import Adam


class ZOSGDSign(Adam):
    """A step along the signs of MeZO's estimate c z.

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning (arXiv:2402.11592), section 3 and
    appendix A (ZO-SGD-Sign), after signSGD via Zeroth-Order Oracle (Liu et al. 2019):
    c = [L(theta + eps z) - L(theta - eps z)] / (2 eps);  theta <- theta - lr sign(c z), entry by entry.

    form="coordinate"    sign(c) sign(z), the paper's: every entry moves by lr;
    form="scalar"        sign(c) z, what the released code computes (the sign of all entries is commented out there):
                         MeZO with the size of the slope left out;
    form="as_released"   Adam's step on sign(c) z, what its released configurations run: none of them names an
                         optimizer, so that sign(c) z goes to the default AdamW. beta1, beta2 and delta (its
                         defaults) are of this form alone, and it alone keeps state: two fp32 values a parameter.
    Where both losses are equal, c = 0, the weights stay (as_released: the moments go on).

    Defaults: eps 1e-3. Learning rates: of the released sweeps, 1e-8 to 1e-4, without the lowest; small runs: ten times
    mezo's, since a slope of about 10 is left out there. Forwards a step: 2. State: none.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, appendix A"
    public_code: ClassVar[str] = (
        "ZO-Bench/ZO-LLM (GPL-3.0): the sign of the slope alone; its configurations run AdamW on it"
    )
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 0.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 1e-6, 1e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-3, 5e-3)

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    form: Literal["coordinate", "scalar", "as_released"] = "coordinate"
    """Of what the sign is taken (see above)."""

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        sign = (lp - lm).sign()
        if self.form == "coordinate":
            self.descend(sign * z.sign())
        elif self.form == "scalar":
            self.descend(sign * z)
        else:
            self.descend(self.preconditioned(sign * z))
        return lp
