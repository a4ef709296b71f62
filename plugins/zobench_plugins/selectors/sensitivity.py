"""The decoder block whose random perturbation changes the loss most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor

from zobench import (
    Batch,
    Count,
    Estimator,
    Losses,
    Positive,
    Scope,
    SelectionContext,
    Selector,
    ZobenchError,
)


class Sensitivity(Selector):
    """The block with the largest mean |L(theta + eps z_l) - L(theta)|, z_l a Gaussian on block l alone.

    The perturbation-only analysis of arXiv:2606.05516, section 4 and figure 4 ("loss change under 1-step
    perturbation"), taken as a rule; the paper itself finds that it points at late blocks too, which do not train well.
    Directions are those of a run's first steps at the cell's seed: another for each batch and draw, on each block its
    own, drawn by an estimator that looks and never moves.

    Defaults: eps 1e-3, the paper's perturbation scale; its figure gives neither that nor a number of directions: four
    batches of eight training examples with one direction each are ours.
    Forwards: batches (1 + draws L) for L blocks. Embeddings, head and final norm are not looked at and do not move.
    Not verified: the paper names no eps, batch or norm for the figure, and prints no numbers of it.
    """

    reference: ClassVar[str] = "arXiv:2606.05516, section 4, figure 4"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = False
    exercise: ClassVar = {"batches": 2}
    planted: ClassVar = {"sensitive": 0}

    eps: Positive = 1e-3
    """The perturbation's scale."""
    draws: Count = 1
    """Directions for each block and batch."""
    batches: Count = 4
    """Training batches to take the loss of."""
    batch_size: Count = 8
    """Training examples in each."""

    def select(self, context: SelectionContext) -> Scope:
        """That block; of equal ones the earlier. ZobenchError for losses that are not finite."""
        calibration = context.calibration(self.batches, self.batch_size)
        before = [float(context.loss(batch)) for batch in calibration]
        if not all(map(math.isfinite, before)):
            raise ZobenchError(f"sensitivity: the loss of {context.loaded.name} is not finite; try another --dtype")
        changes = [self._change(context, block.index, calibration, before) for block in context.blocks]
        best = max(range(len(changes)), key=lambda i: (changes[i], -i))
        context.note(chosen=best, eps=self.eps, loss_changes=changes, loss=math.fsum(before) / len(before))
        return context.layers(best)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """The loss as it is, and under each perturbation."""
        return self.batches * (1 + self.draws * blocks)

    def _change(
        self, context: SelectionContext, index: int, batches: Sequence[Batch], before: Sequence[float]
    ) -> float:
        looks = Look(context.layers(index), lr=0.0, seed=context.seed, check_finite=False, eps=self.eps)
        changes = []
        try:
            for batch, base in zip(batches, before, strict=True):
                for _ in range(self.draws):
                    changes.append(abs(float(looks.step(partial(context.loss, batch))) - base))
        finally:
            looks.settle()  # the last look leaves the block displaced
        if not all(map(math.isfinite, changes)):
            raise ZobenchError(
                f"sensitivity: the loss is not finite with block {index} perturbed by eps={self.eps:g}; "
                "lower sensitivity.eps"
            )
        return math.fsum(changes) / len(changes)


class Look(Estimator):
    """One look along a Gaussian direction, and no move."""

    eps: Positive = 1e-3

    def iterate(self, losses: Losses) -> Tensor:
        """The loss there."""
        return losses(self.eps * self.noise())[0]
