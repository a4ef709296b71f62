"""The interval of a slope that lines through several groups share: groups and what was measured drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def slope_interval(
    groups: Sequence[Mapping[int, Sequence[float]]], draws: int = 2000, level: float = 0.95
) -> tuple[float, float] | None:
    """(low, high) of the slope of least squares, each group with its own height: percentiles of a two-stage bootstrap.

    groups: what was measured by place on the axis. Groups are drawn again, and in each the measurements at each place.
    None where nothing could come out otherwise: of one group with one measurement a place. Needs numpy; the same on
    every machine.
    """
    import numpy as np

    if len(groups) == 1 and all(len(values) == 1 for values in groups[0].values()):
        return None
    rng = np.random.RandomState(0)  # a generator whose stream no version of numpy changes
    chosen = rng.randint(len(groups), size=(draws, len(groups)))
    above, below = np.zeros(draws), np.zeros(draws)
    for drawn in chosen.T:
        for at, group in enumerate(groups):
            off = np.array(list(group), dtype=float)
            off -= off.mean()
            means = [np.take(v, rng.randint(len(v), size=(draws, len(v)))).mean(1) for v in group.values()]
            mine = drawn == at
            above += mine * (np.stack(means, 1) @ off)
            below += mine * (off @ off)
    slopes = above[below > 0] / below[below > 0]
    low, high = np.quantile(slopes, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)
