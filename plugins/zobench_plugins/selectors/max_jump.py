"""The decoder block at which the largest activation grows most."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

from zobench import Count, Scope, SelectionContext, Selector, ZobenchError, block_activations
from zobench.models.outliers import jumps


class MaxJump(Selector):
    """The block whose largest activation is the greatest multiple of that of the block before it.

    argmax_l log M_l - log M_(l-1), with M_l = max |h_l| over the real tokens and channels of the stream after block l:
    a reading of the "clear jump" in figure 2 of arXiv:2606.05516, without thresholds; it always chooses a block, so
    look at the jump that the record notes. The rule is zobench's own, a rival to first_outlier.

    Defaults: 32 training examples, as first_outlier. Block 0 has no block before it: by default it is never chosen,
    as the embedding's scale is arbitrary; with `embedding` its growth over the embedding counts.
    Forwards: one a calibration batch. Embeddings, head and final norm do not move, as in the paper's dominant layer.
    """

    reference: ClassVar[str] = "after arXiv:2606.05516, figure 2"
    public_code: ClassVar[str] = "none: a rule of zobench's own"
    verified: ClassVar[bool | None] = True
    planted: ClassVar = {"outlier": 1}

    embedding: bool = False
    """Whether block 0 may be chosen, for its growth over the embedding."""
    batches: Count = 4
    """Training batches to look at, one forward pass each."""
    batch_size: Count = 8
    """Training examples in each."""

    def check(self, blocks: int) -> None:
        """ZobenchError where no block comes after another."""
        if blocks < 2 and not self.embedding:
            raise ZobenchError("max_jump: the model has one decoder block; set max_jump.embedding=true")

    def select(self, context: SelectionContext) -> Scope:
        """That block; of equal jumps the earlier. ZobenchError where no block comes after another."""
        calibration = context.calibration(self.batches, self.batch_size)
        table = block_activations(context.loaded, calibration, embedding=self.embedding)
        context.count("calibration", len(calibration))
        grown = [(jump, -row.index) for jump, row in zip(jumps(table), table, strict=True) if jump is not None]
        if not grown:
            raise ZobenchError(f"max_jump: {context.loaded.name} has one decoder block; set max_jump.embedding=true")
        jump, index = max(grown)
        context.note(chosen=-index, jump=jump, activations=[asdict(row) for row in table])
        return context.layers(-index)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a calibration batch."""
        return self.batches
