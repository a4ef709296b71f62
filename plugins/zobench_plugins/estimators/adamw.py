"""AdamW with backpropagation: the first-order reference, Loshchilov and Hutter 2019."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Losses

from .adam import Adam


class AdamW(Adam):
    """What fine-tuning with gradients reaches on the same scope, batches and learning-rate selection.

    Paper: Decoupled Weight Decay Regularization (arXiv:1711.05101), Algorithm 2, with a constant schedule. The
    gradient is one backward pass at theta, gathered in fp32. Biases and LayerNorm weights are not decayed.

    Defaults: betas 0.9 and 0.999, delta 1e-8 (torch's). Learning rates: those of the first-order rows of
    arXiv:2606.05516, Tables 7 and 8 (there with batches of 8, for 5 epochs, in bfloat16). A step costs one forward and
    one backward. State: two fp32 values a parameter. The backward pass keeps activations; zeroth-order estimators keep
    none.
    """

    differentiates: ClassVar[bool] = True
    own_directions: ClassVar[str] = "it takes the gradient by backpropagation, and looks along none"
    reference: ClassVar[str] = "Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2 (backpropagation)"
    public_code: ClassVar[str] = "torch.optim.AdamW (BSD-3-Clause)"
    verified: ClassVar[bool | None] = True
    state_per_parameter: ClassVar[float] = 2.0
    forwards_per_step: ClassVar[int | None] = 1
    lr_grid: ClassVar[tuple[float, ...]] = (1e-5, 5e-5, 1e-4)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)

    def iterate(self, losses: Losses) -> Tensor:
        loss, gradient = losses.gradient()
        self.descend(self.preconditioned(gradient))
        return loss
