"""PseuZO, NeurIPS 2025."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from zobench import Estimator, Losses, Positive


class PseuZO(Estimator):
    """One look at what the model puts out along a Gaussian direction, weighed by the loss's derivative by it.

    Paper: PseuZO: Pseudo-Zeroth-Order Algorithm for Training Deep Neural Networks (NeurIPS 2025): with o(theta) the
    model's outputs and L a loss of them,  z ~ N(0, I);  c = <dL/do(theta), [o(theta + eps z) - o(theta)] / eps>;
    theta <- theta - lr c z.  The derivative is of the loss alone, so that nothing is kept of the forward. c is the
    one-sided slope without the error that comes from the loss being curved in the outputs.

    The paper was not to be had: this is the released code (pzo_trainer.py at af8da78) with a window of one step, where
    that has fourteen, so that what it does is not known of the paper (`verified` False). Outputs are the
    logits that the loss reads (the code's form for models whose head is not tied to the embeddings; else it takes the
    states that enter the head, which is the same where the head does not move). Left out is its window: there
    [o(theta + eps z) - o(theta)] of up to 13 earlier steps are weighed too, by dL/do of the present batch, token by
    token from the right, though they are of other texts. A step counts 1 / (1 + 10 epochs) of the one after it, which
    begins anew at half of the epochs; ten epochs later the code steps as MeZO.

    Defaults: eps 1e-3, lr 1e-7 (released README); the grid goes up to MeZO's, whose steps are about as long. Forwards a
    step: 2. State: none. The loss must have a derivative by the outputs: no train_loss=non_diff.
    """

    differentiates: ClassVar[bool] = True
    reference: ClassVar[str] = "PseuZO, NeurIPS 2025"
    public_code: ClassVar[str] = (
        "YangBigMn/PseuZO (no licence): weighs changes of other texts' outputs by this batch's derivative"
    )
    verified: ClassVar[bool | None] = False
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-7, 5e-7, 1e-6, 5e-6)
    small_lrs: ClassVar[tuple[float, ...]] = (2.5e-5, 1.25e-4)

    eps: Positive = 1e-3
    """How far to look: the look is at theta + eps times the direction."""

    def iterate(self, losses: Losses) -> Tensor:
        z = self.noise()
        l0, linear = losses.linear()
        (change,) = linear(self.eps * z)
        self.descend(change / self.eps * z)
        return l0
