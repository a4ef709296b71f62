"""ZO-SGD with momentum, Zhang et al. 2024 (ZO-Bench)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from torch import Tensor

from zobench import Estimator, Losses, Positive, Range


class ZOSGDMomentum(Estimator):
    """Heavy-ball momentum on MeZO's estimate c z (ZO-SGD-MMT): also the control for methods that keep a dense momentum.

    Paper: Revisiting Zeroth-Order Optimization for Memory-Efficient LLM Fine-Tuning (arXiv:2402.11592), section 3 and
    appendix A; the rule is that of its released code, torch.optim.SGD's:  m <- momentum m + c z;
    theta <- theta - lr (m + weight_decay theta).  There is no factor 1 - momentum: in the long run a step moves
    1 / (1 - momentum) times as far as MeZO's at the same lr. Weight decay is not taken into m.

    Defaults: momentum 0.9 and the learning rates of the released sweeps (1e-8 to 1e-5); eps 1e-3; small runs: 1 -
    momentum times mezo's. Forwards a step: 2. State: m, one fp32 value a parameter; a tensor that rests keeps its m.
    With momentum 0 it is mezo (and keeps an idle m).

    Public code: m is kept in the dtype of the model.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, appendix A"
    public_code: ClassVar[str] = "ZO-Bench/ZO-LLM (GPL-3.0): m in the model's dtype"
    verified: ClassVar[bool | None] = True
    forwards_per_step: ClassVar[int | None] = 2
    state_per_parameter: ClassVar[float] = 1.0
    lr_grid: ClassVar[tuple[float, ...]] = (1e-8, 1e-7, 1e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-5, 5e-5)
    moves_along_looks: ClassVar[bool] = False
    neutral: ClassVar[Mapping[str, object] | None] = {"momentum": 0.0}

    eps: Positive = 1e-3
    """How far to look: the looks are at theta +- eps times the direction."""
    momentum: Annotated[float, Range(ge=0, lt=1)] = 0.9
    """Share of the last step's m that stays."""

    def setup(self) -> None:
        self.m = self.buffer("m")

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        c = (lp - lm) / (2 * self.eps)
        self.m.assign(self.momentum * self.m + c * z)
        self.descend(self.m)
        return lp
