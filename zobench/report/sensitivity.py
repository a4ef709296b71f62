"""What looks at single blocks say: sizes of loss changes and how steady they are, with intervals. Light: no torch."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import stats, text
from .stats import Effect

NOISELESS = (2 / math.pi) ** 0.5
"""The mean of |cosine| times sqrt(d) between a Gaussian direction of d entries and any vector, for large d."""

Look = Mapping[str, Any]
"""A look as zobench.run.sensitivity.Looked has it."""


@dataclass(frozen=True)
class BlockLooks:
    """One block on one task: means over batches, each with its uncertainty over directions.

    change: the mean of |L(theta + eps z) - L| and |L(theta - eps z) - L|. up, down: of either side alone.
    signal: |mean over batches| of the projected gradient (L+ - L-) / 2 eps, over its standard deviation over batches.
    agreement: the share of batches whose projected gradient has the sign of the mean over batches.
    alignment: cosine of the estimate of one batch with the gradient over all, times the square root of the block's
    size; the most that is to be expected is NOISELESS. None: gradients were not taken.
    """

    block: int
    change: Effect | None
    up: Effect | None
    down: Effect | None
    signal: Effect | None
    agreement: Effect | None
    alignment: Effect | None


def by_task(looks: Sequence[Look]) -> dict[str, list[Look]]:
    """The looks of each task."""
    out: dict[str, list[Look]] = defaultdict(list)
    for one in looks:
        out[one["task"]].append(one)
    return dict(out)


def blocks(looks: Sequence[Look], eps: float) -> list[BlockLooks]:
    """The blocks of one task's looks, in order."""
    of: dict[int, list[Look]] = defaultdict(list)
    for one in looks:
        of[one["block"]].append(one)
    return [_block(index, found, eps) for index, found in sorted(of.items())]


def _block(index: int, looks: Sequence[Look], eps: float) -> BlockLooks:
    slopes = _by_seed(looks, lambda one: (one["plus"] - one["minus"]) / (2 * eps)).values()
    return BlockLooks(
        block=index,
        change=_mean(looks, change),
        up=_mean(looks, lambda one: abs(one["plus"] - one["base"])),
        down=_mean(looks, lambda one: abs(one["minus"] - one["base"])),
        signal=_over_directions([_signal(g) for g in slopes]),
        agreement=_over_directions([_agreement(g) for g in slopes]),
        alignment=_mean(looks, alignment) if all(one["gradient"] for one in looks) else None,
    )


def _mean(looks: Sequence[Look], of: Callable[[Look], float]) -> Effect | None:
    return _over_directions([stats.mean(values) for values in _by_seed(looks, of).values()])


def change(one: Look) -> float:
    """The mean size of the loss's change, of both sides of a look."""
    return float(abs(one["plus"] - one["base"]) + abs(one["minus"] - one["base"])) / 2


def alignment(one: Look) -> float:
    """sign(L+ - L-) z . g / |g|: as |z| is the square root of the block's size, that much times the cosine."""
    sign = (one["plus"] > one["minus"]) - (one["plus"] < one["minus"])
    return float(sign * one["slope"] / one["gradient"])


def _by_seed(looks: Sequence[Look], of: Callable[[Look], float]) -> dict[int, list[float]]:
    out: dict[int, list[float]] = defaultdict(list)
    for one in sorted(looks, key=lambda one: (one["seed"], one["batch"])):
        out[one["seed"]].append(of(one))
    return dict(out)


def _signal(slopes: Sequence[float]) -> float | None:
    spread = stats.sample_std(slopes)
    return None if not spread else abs(stats.mean(slopes)) / spread


def _agreement(slopes: Sequence[float]) -> float:
    mean = stats.mean(slopes)
    return sum(g * mean > 0 for g in slopes) / len(slopes)


def _over_directions(values: Sequence[float | None]) -> Effect | None:
    """The mean of one value a direction, directions being the draws; None for one alone, and where one has no value."""
    known = [value for value in values if value is not None]
    return stats.score({0: known}) if len(known) == len(values) else None


def most_sensitive(found: Sequence[BlockLooks]) -> int:
    """The block with the largest mean change; of equal ones the first."""
    return max(found, key=lambda one: (one.change.mean if one.change else -math.inf, -one.block)).block


HEADS = ("block", "change of loss", "at +eps", "at -eps", "signal / noise", "sign agreement", "alignment")


def markdown(looks: Sequence[Look], eps: float, chosen: Mapping[str, int | None]) -> str:
    """A table a task. `chosen`: by task the first outlier block, where there is one."""
    parts = [
        f"Losses with one block displaced by {eps:g} times a Gaussian direction, before any training; ± is half of the "
        "95 % interval over directions, on these batches. Signal / noise and sign agreement are of the projected "
        "gradient (L+ - L-) / 2 eps of one direction over batches. Alignment is the cosine of one estimate with the "
        "block's gradient, times the square root of its size: 0 knows nothing of it, "
        f"{NOISELESS:.2f} is all that one direction can know."
    ]
    for task, mine in by_task(looks).items():
        found = blocks(mine, eps)
        outlier = chosen.get(task)
        rows = [_row(one, outlier) for one in found]
        said = f"Most sensitive: block {most_sensitive(found)}; the first outlier block"
        said += f": {outlier}." if outlier is not None else ": there is none."
        parts.append(f"## {task}\n\n{text.table(HEADS, rows, left=1)}\n\n{said}")
    return "\n\n".join(parts) + "\n"


def _row(one: BlockLooks, outlier: int | None) -> list[str]:
    name = f"{one.block} (first outlier)" if one.block == outlier else str(one.block)
    plain = [plus_minus(effect) for effect in (one.change, one.up, one.down)]
    return [name, *plain, *(plus_minus(effect, 2) for effect in (one.signal, one.agreement, one.alignment))]


def plus_minus(effect: Effect | None, decimals: int | None = None) -> str:
    """`0.0123 ± 0.0011`: to two figures of the interval, or to so many decimals."""
    if effect is None:
        return text.NONE
    half = effect.half()
    shown = half or abs(effect.mean)
    places = decimals if decimals is not None else min(8, max(0, 1 - math.floor(math.log10(shown)))) if shown else 0
    return f"{effect.mean:.{places}f} ± {half:.{places}f}"
