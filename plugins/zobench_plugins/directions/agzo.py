"""The directions of AGZO, Lin et al. 2026."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from zobench import Buffer, Count, Direction, Directions, Draws, matrices

from ..estimators.agzo import leading


class AGZODirections(Directions):
    """In the span of what enters each linear layer in this batch: d = R A^T; Gaussian on all other tensors.

    Paper: AGZO: Activation-Guided Zeroth-Order Optimization (arXiv:2601.17261): A (n, r), the leading directions of the
    inputs of a linear layer in a forward at theta, by `iterations` rounds of A <- QR(H H^T A) from a random start;
    R (m, r) ~ N(0, 1), new every time. The forward that finds A is made once a step and is one more than the
    estimator's own. `mezo` along them is `agzo` with looks=two_sided; see there for what is left Gaussian.

    Defaults: rank 1, iterations 3 (as the paper is summarised by others: `verified` False). What a step saw does not
    fit the replay log, and a direction of an earlier step cannot be drawn again.
    """

    reference: ClassVar[str] = "Lin et al. 2026, arXiv:2601.17261"
    public_code: ClassVar[str] = "Yining-Jiang/ActivationGuidedZO-NPU is named, not obtainable"
    verified: ClassVar[bool | None] = False
    forwards_per_step: ClassVar[int] = 1
    recalled: ClassVar[bool] = False
    replays: ClassVar[bool] = False
    numerics: ClassVar[int] = 2  # H had padding and the last tokens of rows

    rank: Count = 1
    """Columns of A, where a layer has as many inputs."""
    iterations: Count = 3
    """Rounds of the power iteration that finds A."""

    def found(self, of: Draws) -> Buffer:
        """A of every linear layer that moves."""
        start = of.noise(shape=lambda p: (p.shape[1], min(self.rank, p.shape[1])), on=matrices, label="start")
        _, found = of.losses.with_inputs(partial(leading, start, self.iterations))
        a: Buffer = found
        return a

    def draw(self, of: Draws) -> Direction:
        a: Buffer = of.once("agzo", lambda: self.found(of.everywhere()))
        r = of.noise(shape=lambda p: (p.shape[0], a[p].shape[1]), on=lambda p: p in a, label="r")
        return r @ a.T + of.noise(on=lambda p: p not in a)
