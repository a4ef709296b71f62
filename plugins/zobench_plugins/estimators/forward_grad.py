"""Forward gradient, Baydin et al. 2022: the exact slope along a random direction instead of a difference."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses


class ForwardGrad(Estimator):
    """The derivative along one Gaussian direction by forward-mode differentiation, and a step along it.

    Papers: Gradients without Backpropagation (arXiv:2202.08587), section 3 and Algorithm 1; for language models Zhang
    et al. 2024 (arXiv:2402.11592), appendix A:  v ~ N(0, I);  g = (grad L(theta) . v) v;
    theta <- theta - lr (g + weight_decay theta).  It is MeZO at eps -> 0, without the error of the difference.

    Defaults: none to set. Learning rates: those of the released sweep on SST-2 but the lowest (5e-7 is marked there as
    the best); small runs: mezo's, since the step has the same size. Forwards a step: 2 (one pass that carries a
    tangent costs two to three). State: none between steps; within one the direction is held densely (a value a
    parameter) beside the tangents of the activations. Attention takes torch's unfused kernel, the only one with a
    forward-mode derivative. The loss must have a derivative: a zobench.Objective, and no train_loss=non_diff.

    Public code: the same; it too holds the direction densely.
    """

    differentiates: ClassVar[bool] = True
    reference: ClassVar[str] = "Baydin et al. 2022, arXiv:2202.08587, Algorithm 1"
    public_code: ClassVar[str] = "ZO-Bench/ZO-LLM (GPL-3.0): no defect known"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 1e-5)

    def iterate(self, losses: Losses) -> Tensor:
        v = self.noise()
        loss, slope = losses.jvp(v)
        self.descend(slope * v)
        return loss
