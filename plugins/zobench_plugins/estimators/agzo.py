"""AGZO, Lin et al. 2026."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

from torch import Tensor

from zobench import Count, Direction, Estimator, Handle, Losses, Positive, matrices, wide

from .subzero import orthonormal


def leading(start: Direction, iterations: int, p: Handle, x: Tensor) -> Tensor:
    """A (in, r): the leading directions of the rows of `x` (tokens, in), as far as the iterations find them."""
    x, a = x.to(p.dtype), start.on(p)
    assert a is not None, "a linear layer's weight is a matrix"
    for _ in range(iterations):
        a = orthonormal(x.T @ (x @ a))
    return a


class AGZO(Estimator):
    """Directions in the span of what enters each linear layer: d = R A^T, A the leading directions of its inputs.

    Paper: AGZO: Activation-Guided Zeroth-Order Optimization (arXiv:2601.17261), its algorithm. The gradient of a linear
    layer's weight W (m, n) has rows in the span of the layer's inputs H (n, tokens). In the forward at theta, which
    gives L(theta) too, A (n, r) is found by `iterations` rounds of  A <- QR(H H^T A)  from a random start;
    R (m, r) ~ N(0, 1);  c = [L(theta + eps d) - L(theta)] / eps;  W <- W - lr c R A^T.  On all other tensors
    (embeddings, norms, biases, and an output layer that shares the embedding's matrix) d is Gaussian, and so it is on
    the matrices of what is no nn.Linear: GPT-2's Conv1D, and tensors that hold all experts of a block, so that on such
    models little of it is AGZO. A is new at every step, of its batch.

    H has a column for every token that the loss depends on, of every row of the batch: all but a row's last, and no
    padding, which a model may compute anything for; an output layer's are of the places that answers are predicted
    from. What candidates share counts for each of them. Where a loss takes several forwards, it is of the last. The
    entries of d are sqrt(r / n) of MeZO's in size, but to inputs along A it does what MeZO's does. In 16 bit eps d is
    below the last digit of most weights: there set looks=two_sided, and a larger eps.

    Defaults: rank 1, iterations 3 (as the paper is summarised by others). eps 1e-4 is the paper's in bfloat16; its
    1e-7 on Qwen3 needs more digits of a loss than float32 has. Its learning rates are not known to us: the first
    author's earlier scripts have 1e-5 and 5e-6 on OPT-1.3B, and 1e-6 and 5e-6 for MeZO beside them; the grid is theirs
    (`verified` False). Forwards a step: 2. State: none; in a step A, r n values a layer. What a step saw does not fit
    the replay log.

    Public code (that earlier state of it; off by default):
      looks="two_sided"   c is a central difference, and the forward that finds A is an extra one: 3 forwards;
                          it has 5 iterations. It is `mezo` with directions=agzo.
    """

    own_directions: ClassVar[str] = (
        "they are its own; mezo with directions=agzo looks along them both ways, and other estimators take them too"
    )
    reference: ClassVar[str] = "Lin et al. 2026, arXiv:2601.17261"
    public_code: ClassVar[str] = (
        "Yining-Jiang/ActivationGuidedZO-NPU is named, not obtainable; of an earlier state: looks on both sides, "
        "5 iterations"
    )
    state_per_parameter: ClassVar[float] = 0.0
    forwards_per_step: ClassVar[int | None] = 2
    lr_grid: ClassVar[tuple[float, ...]] = (1e-6, 5e-6, 1e-5)
    small_lrs: ClassVar[tuple[float, ...]] = (1e-4, 1e-3)
    verified: ClassVar[bool | None] = False
    numerics: ClassVar[int] = 3  # H had padding and the last tokens of rows; before, looks=two_sided was another

    eps: Positive = 1e-4
    """How far to look."""
    rank: Count = 1
    """Columns of A, where a layer has as many inputs."""
    iterations: Count = 3
    """Rounds of the power iteration that finds A."""
    looks: Literal["one_sided", "two_sided"] = "one_sided"
    """What the slope is taken from (see above)."""

    def iterate(self, losses: Losses) -> Tensor:
        start = self.noise(shape=lambda p: (p.shape[1], min(self.rank, p.shape[1])), on=matrices, label="start")
        l0, a = losses.with_inputs(partial(leading, start, self.iterations))
        r = self.noise(shape=lambda p: (p.shape[0], a[p].shape[1]), on=lambda p: p in a, label="r")
        d = r @ a.T + self.noise(on=lambda p: p not in a)
        if self.looks == "two_sided":
            lp, lm = losses(+self.eps * d, -self.eps * d)
            c = (lp - lm) / (2 * self.eps)
        else:
            (lp,) = losses(+self.eps * d)
            c = (wide(lp) - wide(l0)) / self.eps  # in float16 the quotient could overflow
        self.descend(c * d)
        return l0
