"""SGD with backpropagation: the first-order reference with MeZO's own update rule."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses


class SGD(Estimator):
    """What MeZO's step reaches with the true gradient in the place of the estimate, on the same scope and batches.

    Robbins and Monro 1951 (Annals of Mathematical Statistics 22(3)):  theta <- theta - lr (grad L(theta) + weight_decay
    theta), as torch.optim.SGD without momentum, but that biases and LayerNorm weights are not decayed.

    Defaults: none to set. Learning rates: the upper three of the five that ZO-Bench (arXiv:2402.11592) sweeps in its
    released configurations. A step costs one forward and one backward. State: none, but the backward pass keeps
    activations and one gradient; zeroth-order estimators keep neither.
    """

    differentiates: ClassVar[bool] = True
    own_directions: ClassVar[str] = "it takes the gradient by backpropagation, and looks along none"
    reference: ClassVar[str] = "Robbins and Monro 1951 (backpropagation)"
    public_code: ClassVar[str] = "torch.optim.SGD (BSD-3-Clause)"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 1
    lr_grid: ClassVar[tuple[float, ...]] = (1e-5, 1e-4, 1e-3)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-2, 1e-1)
    moves_along_looks: ClassVar[bool] = False

    def iterate(self, losses: Losses) -> Tensor:
        loss, gradient = losses.gradient()
        self.descend(gradient)
        return loss
