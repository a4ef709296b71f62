"""Which block is the first with an activation outlier: a pure function of the table of block activations.

The paper of the dominant layer (arXiv 2606.05516, section 3.3) takes "the first layer whose maximum activation
magnitude is abnormally large compared with the typical activation scale" and gives no threshold. Three readings:

plateau   the first block whose max is at least `fraction` of the largest max of any block, and at least `ratio` times
          its own median. Massive activations stay in the stream once they are there, so that the first block near
          the top of the curve is the one that makes them. The default.
jump      the first block whose max is at least `jump` times that of the block before and at least `ratio` times its
          own median. Block 0 has no block before it and is never taken.
ratio     the first block whose max is at least `ratio` times its median. With a thousand this is the definition of a
          massive activation of Sun et al. 2024 (arXiv 2402.17762); it can fire on an early block whose median is tiny.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from .activations import BlockActivation

Rule = Literal["plateau", "jump", "ratio"]
RULES: tuple[Rule, ...] = get_args(Rule)
FRACTION = 0.1
JUMP = 5.0
RATIOS: dict[Rule, float] = {"plateau": 100.0, "jump": 100.0, "ratio": 1000.0}
"""max/median of models without outliers stays under about 25; massive activations are at a thousand and above."""


def choose_block(
    table: Sequence[BlockActivation],
    *,
    rule: Rule = "plateau",
    fraction: float = FRACTION,
    ratio: float | None = None,
    jump: float = JUMP,
) -> int | None:
    """The index of the first outlier block of `table`, None where the rule finds none.

    table: a row a block in the order of the blocks; a row of the embedding (negative index) is never chosen.
    ratio: None takes RATIOS[rule].
    """
    reached = margins(table, rule=rule, fraction=fraction, ratio=ratio, jump=jump)
    return next((index for index, margin in reached.items() if margin >= 1), None)


def margins(
    table: Sequence[BlockActivation],
    *,
    rule: Rule = "plateau",
    fraction: float = FRACTION,
    ratio: float | None = None,
    jump: float = JUMP,
) -> dict[int, float]:
    """By block how far it is over the rule's thresholds: the least of measured / threshold, 1 or more where it passes.

    Arguments as of `choose_block`. The choice would be another one if thresholds were higher by the chosen block's
    factor, or so low that an earlier block reaches 1.
    """
    blocks = [row for row in table if row.index >= 0]
    least = RATIOS[rule] if ratio is None else ratio
    top = max((row.max for row in blocks), default=0.0)
    out: dict[int, float] = {}
    for before, row in zip([None, *blocks], blocks, strict=False):
        factors = [row.ratio / least]
        if rule == "plateau":
            factors.append(_over(row.max, fraction * top))
        if rule == "jump":
            factors.append(0.0 if before is None else _over(row.max, jump * before.max))
        out[row.index] = min(factors)
    return out


def _over(value: float, threshold: float) -> float:
    """Their quotient; all is over a threshold of 0."""
    return value / threshold if threshold > 0 else float("inf")


@dataclass(frozen=True)
class OutlierChoice:
    """What a rule says of a table, and how surely."""

    block: int | None
    """None: no block passes."""
    margin: float | None
    """Of that block; None where there is none."""
    rival: int | None
    """The block before it, or of all where none passes, that comes nearest; None where there is none that could."""
    rival_margin: float | None
    """Below 1."""

    def __str__(self) -> str:
        near = "" if self.rival is None else f"block {self.rival} at x{self.rival_margin:.2g}"
        if self.block is None:
            return f"none ({near})" if near else "none"
        return f"{self.block} (x{self.margin:.2g}{f'; {near}' if near else ''})"


def choice(
    table: Sequence[BlockActivation],
    *,
    rule: Rule = "plateau",
    fraction: float = FRACTION,
    ratio: float | None = None,
    jump: float = JUMP,
) -> OutlierChoice:
    """The first outlier block by a rule with its margins. Arguments as of `choose_block`."""
    reached = margins(table, rule=rule, fraction=fraction, ratio=ratio, jump=jump)
    block = next((index for index, margin in reached.items() if margin >= 1), None)
    before = {i: m for i, m in reached.items() if m > 0 and (block is None or i < block)}
    rival = max(before, key=lambda i: before[i], default=None)
    return OutlierChoice(
        block,
        None if block is None else reached[block],
        rival,
        None if rival is None else before[rival],
    )


def jumps(table: Sequence[BlockActivation]) -> list[float | None]:
    """For every row its max over the max of the row before it; None for the first, and where that is 0."""
    out: list[float | None] = [None] if table else []
    for before, row in zip(table, table[1:], strict=False):
        out.append(row.max / before.max if before.max > 0 else None)
    return out


def describe(rule: Rule, *, fraction: float = FRACTION, ratio: float | None = None, jump: float = JUMP) -> str:
    """The rule with its thresholds, in words."""
    median = f"max >= {RATIOS[rule] if ratio is None else ratio:g} x median"
    further = {"plateau": f" and max >= {fraction:g} of the largest", "jump": f" and max >= {jump:g} x block before"}
    return median + further.get(rule, "")
