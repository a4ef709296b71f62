"""The first block with an activation outlier: the dominant layer, found by forward passes alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

from zobench import (
    BlockActivation,
    Count,
    Fraction,
    Positive,
    Scope,
    SelectionContext,
    Selector,
    ZobenchError,
    block_activations,
    choose_block,
)
from zobench.models.outliers import FRACTION, JUMP, Rule, describe, jumps


class FirstOutlier(Selector):
    """All parameters of the first block whose largest activation is abnormal: the dominant layer, by forwards alone.

    The paper gives no threshold; zobench.models.outliers has the rules and where their thresholds come from. Ours,
    too, is the size of the calibration set: 32 training examples.
    """

    reference: ClassVar[str] = "arXiv:2606.05516, section 3.3"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = True
    argument: ClassVar[str] = "rule"
    planted: ClassVar = {"outlier": 0}

    rule: Rule = "plateau"
    """What counts as abnormal: near the top of all blocks, far above the block before, or far above the median."""
    fraction: Fraction = FRACTION
    """Of rule plateau: the least share of the largest max of any block."""
    ratio: Positive | None = None
    """Of all rules: the least max/median of the block; none: 100, and 1000 for rule ratio."""
    jump: Positive = JUMP
    """Of rule jump: the least factor over the max of the block before."""
    batches: Count = 4
    """Training batches to look at, one forward pass each."""
    batch_size: Count = 8
    """Training examples in each."""

    def select(self, context: SelectionContext) -> Scope:
        """That block. ZobenchError, with the numbers nearest to an outlier, where there is none."""
        calibration = context.calibration(self.batches, self.batch_size)
        table = block_activations(context.loaded, calibration)
        context.count("calibration", len(calibration))
        chosen = choose_block(table, rule=self.rule, fraction=self.fraction, ratio=self.ratio, jump=self.jump)
        what = describe(self.rule, fraction=self.fraction, ratio=self.ratio, jump=self.jump)
        context.note(rule=self.rule, condition=what, chosen=chosen, activations=[asdict(row) for row in table])
        if chosen is None:
            raise ZobenchError(f"first_outlier: {context.loaded.name} has no outlier block ({what}): {nearest(table)}")
        return context.layers(chosen)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """One a calibration batch."""
        return self.batches


def nearest(table: list[BlockActivation]) -> str:
    """The largest ratio and the largest jump of the table, and what to set."""
    peak = max(table, key=lambda row: row.ratio)
    text = f"the largest max/median is {peak.ratio:.1f}, of block {peak.index}"
    steps = [(jump, row.index) for jump, row in zip(jumps(table), table, strict=True) if jump is not None]
    if steps:
        text += f", the largest jump x{max(steps)[0]:.1f}, at block {max(steps)[1]}"
    return f"{text}; lower first_outlier.ratio (or .fraction, .jump), or name a block: --selector layer"
