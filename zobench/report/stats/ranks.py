"""What is told of many methods at once: rank intervals, Friedman's test, performance profiles, analysis of variance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .basic import mean
from .effect import ALPHA
from .student import chi2_tail, f_tail, range_quantile

FRIEDMAN_TASKS = 10
"""Tasks that Friedman's test needs to be worth showing (Demsar 2006)."""


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1 for the highest; equal values share the mean of theirs. Differences below 1e-9 are rounding."""
    order = sorted(range(len(values)), key=lambda i: -values[i])
    out = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[start]] - values[order[end + 1]] < 1e-9:
            end += 1
        for i in order[start : end + 1]:
            out[i] = 1 + (start + end) / 2
        start = end + 1
    return out


def rank_intervals(
    tables: Sequence[Sequence[Sequence[Sequence[float]]]], *, draws: int = 2000, level: float = 1 - ALPHA
) -> list[tuple[float, float, float]]:
    """(rank, lowest, highest) of each method by its average over tasks; `tables[task][method][seed][item]`.

    Seeds and items are drawn again together, of each task by itself and for all methods alike, so that what methods
    share stays shared. The methods of a task have the same seeds and items. Needs numpy; the same on every machine.
    """
    import numpy as np

    rng = np.random.RandomState(0)  # a generator whose stream no version of numpy changes
    averages = np.zeros((draws, len(tables[0])))
    for task in tables:
        averages += _drawn_again(task, rng, draws) / len(tables)
    above = (averages[:, None, :] > averages[:, :, None] + 1e-9).sum(axis=2)
    level_with = (np.abs(averages[:, None, :] - averages[:, :, None]) <= 1e-9).sum(axis=2)
    drawn = 1 + above + (level_with - 1) / 2
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    observed = ranks([mean([mean([mean(seed) for seed in task[k]]) for task in tables]) for k in range(len(tables[0]))])
    return [(r, float(lo), float(hi)) for r, lo, hi in zip(observed, low, high, strict=True)]


def _drawn_again(task: Sequence[Sequence[Sequence[float]]], rng: Any, draws: int) -> Any:
    """Means (draws, things) of `task[thing][seed][item]`, its seeds and items drawn again for all things alike."""
    import numpy as np

    scores = np.asarray(task, dtype=np.float64)
    things, s, n = scores.shape
    seeds = rng.multinomial(s, [1 / s] * s, size=draws) / s
    items = rng.multinomial(n, [1 / n] * n, size=draws) / n
    by_seed = (items @ scores.reshape(things * s, n).T).reshape(draws, things, s)
    return (by_seed * seeds[:, None, :]).sum(axis=2)


@dataclass(frozen=True)
class Friedman:
    """Whether methods differ at all in their ranks over tasks, and by how much two mean ranks must differ."""

    mean_ranks: tuple[float, ...]
    chi2: float
    p: float
    """Of Iman and Davenport's F, which is less conservative than chi-square's."""
    p_chi2: float
    critical_difference: float
    """Nemenyi's, at ALPHA."""


def friedman(scores: Sequence[Sequence[float]]) -> Friedman:
    """Friedman's test with its correction for ties; `scores[task][method]`.

    Raises ValueError for fewer than two tasks or methods.
    """
    n, k = len(scores), len(scores[0]) if scores else 0
    if n < 2 or k < 2:
        raise ValueError("Friedman's test takes two tasks and methods at least")
    of_task = [ranks(row) for row in scores]
    means = [mean([row[j] for row in of_task]) for j in range(k)]
    between = n * math.fsum((m - (k + 1) / 2) ** 2 for m in means)
    within = math.fsum((r - (k + 1) / 2) ** 2 for row in of_task for r in row) / (n * (k - 1))
    chi2 = between / within if within > 0 else 0.0
    rest = n * (k - 1) - chi2
    f = math.inf if rest <= 1e-12 and chi2 > 0 else (n - 1) * chi2 / rest if rest > 0 else 0.0
    return Friedman(
        mean_ranks=tuple(means),
        chi2=chi2,
        p=f_tail(f, k - 1, (k - 1) * (n - 1)),
        p_chi2=chi2_tail(chi2, k - 1),
        critical_difference=range_quantile(1 - ALPHA, k) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n)),
    )


def cliques(mean_ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """The largest groups of methods whose mean ranks are all within the critical difference, best first."""
    order = sorted(range(len(mean_ranks)), key=lambda i: (mean_ranks[i], i))
    out: list[tuple[int, ...]] = []
    reached = 0
    for start in range(len(order)):
        end = start
        while end + 1 < len(order) and mean_ranks[order[end + 1]] - mean_ranks[order[start]] < difference:
            end += 1
        if end > start and end + 1 > reached:
            out.append(tuple(order[start : end + 1]))
        reached = max(reached, end + 1)
    return out


def profile(costs: Sequence[Mapping[str, float]], taus: Sequence[float]) -> dict[str, list[float]]:
    """Performance profiles (Dolan and More 2002): of each method the fraction of tasks on which its cost is at most tau
    times the lowest. `costs[task]` by method; a method that a task lacks never gets there. Costs are not negative.
    """
    names = sorted({name for of_task in costs for name in of_task})
    out: dict[str, list[float]] = {}
    for name in names:
        got = [
            sum(name in of_task and of_task[name] <= tau * min(of_task.values()) + 1e-12 for of_task in costs)
            for tau in taus
        ]
        out[name] = [count / len(costs) for count in got]
    return out


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """The rank correlation of two equally long lists, ties sharing their mean rank; 0 where one does not vary."""
    x, y = ranks(a), ranks(b)
    mx, my = mean(x), mean(y)
    below = math.sqrt(math.fsum((i - mx) ** 2 for i in x) * math.fsum((j - my) ** 2 for j in y))
    return math.fsum((i - mx) * (j - my) for i, j in zip(x, y, strict=True)) / below if below > 0 else 0.0


def rank_correlation(
    tables: Sequence[Sequence[Sequence[Sequence[float]]]], *, draws: int = 2000, level: float = 1 - ALPHA
) -> tuple[float, float, float]:
    """(mean over pairs of tasks, lowest, highest) of how far tasks rank the same things alike (Spearman).

    `tables[task][thing][seed][item]`: the things are the same for all tasks; of a task all have the same seeds and
    items, which are drawn again together, for the interval (percentiles). Needs numpy; the same on every machine.
    """
    import numpy as np

    rng = np.random.RandomState(0)
    observed = _agreement([[mean([mean(seed) for seed in thing]) for thing in task] for task in tables])
    means = [_drawn_again(task, rng, draws) for task in tables]
    drawn = [_agreement([[float(v) for v in of[k]] for of in means]) for k in range(draws)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return observed, float(low), float(high)


def _agreement(tasks: Sequence[Sequence[float]]) -> float:
    pairs = [spearman(a, b) for i, a in enumerate(tasks) for b in tasks[i + 1 :]]
    return mean(pairs)
