"""How much of the differences is the estimator's, the selector's, the task's, or of two together: analysis of variance.

Estimators and selectors are the levels of interest; tasks and seeds are draws. So an effect is held against how it
varies from task to task (its interaction with tasks), not against the noise of seeds alone: what differs by task does
not generalise by having many seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ZobenchError
from . import stats, text
from .rows import Section
from .stats.student import f_tail

NAMES = ("estimator", "selector", "task")
DRAWN = "task"
SEEDS = "seeds"


@dataclass(frozen=True)
class VarianceSource:
    """A line of the table: a factor, or several together."""

    name: str
    squares: float
    df: int
    share: float
    """Of all squares (eta squared)."""
    f: float | None = None
    """The F ratio against the same with tasks."""
    p: float | None = None
    """Of that ratio."""


def balanced(section: Section) -> tuple[dict[tuple[str, str, str], list[float]], dict[str, list[str]]]:
    """Scores by (estimator, selector, task), one a seed, and the levels: the largest complete grid of the rows.

    Estimators that lack a selector that others have are left out, or selectors that estimators lack, whichever keeps
    more cells. Raises ZobenchError where no two estimators or two selectors are left with all tasks and two seeds.
    """
    rows = [row for row in section.rivals if row.trains and row.complete_on(section.scored)]
    where = {(row.method, row.where): row for row in rows}
    estimators, selectors = sorted({m for m, _ in where}), sorted({w for _, w in where})
    grids = []
    for some in _subsets(selectors):
        own = [m for m in estimators if all((m, w) in where for w in some)]
        grids.append((len(own) * len(some), len(some), own, some))
    size, _, own, some = max(grids, key=lambda grid: (grid[0], grid[1], grid[2], grid[3]))
    seeds = min((len(where[m, w].entry(t).done) for m in own for w in some for t in section.scored), default=0)
    if size < 2 or len(section.scored) < 2 or seeds < 2:
        raise ZobenchError(
            "an analysis of factors needs two methods at least that share a selector (or an estimator), two tasks, "
            "and two seeds of each"
        )
    scores = {(m, w, t): where[m, w].entry(t).values()[:seeds] for m in own for w in some for t in section.scored}
    return scores, {"estimator": own, "selector": list(some), "task": list(section.scored)}


def _subsets(names: Sequence[str], most: int = 12) -> list[tuple[str, ...]]:
    """All subsets of a few names; of many all together, and each name alone."""
    if len(names) > most:
        return [tuple(names), *((name,) for name in names)]
    return [c for k in range(1, len(names) + 1) for c in itertools.combinations(names, k)]


def analyse(
    scores: Mapping[tuple[str, str, str], Sequence[float]], levels: Mapping[str, Sequence[str]]
) -> list[VarianceSource]:
    """The sources of variation of a balanced grid, their sums of squares in points squared."""
    seeds = len(next(iter(scores.values())))
    values = {key: [100 * x for x in of] for key, of in scores.items()}
    grand = stats.mean([x for of in values.values() for x in of])
    squares: dict[tuple[int, ...], float] = {}
    df: dict[tuple[int, ...], int] = {}
    means = _means(values)
    for k in range(1, 4):
        for which in itertools.combinations(range(3), k):
            each = [len(values) // math.prod(len(levels[NAMES[i]]) for i in which)]
            effects = []
            for at, m in means[which].items():
                below = sum(
                    (-1) ** (k - j) * (means[sub][tuple(at[which.index(i)] for i in sub)] if sub else grand)
                    for j in range(k)
                    for sub in itertools.combinations(which, j)
                )
                effects.append(m + below)
            squares[which] = each[0] * seeds * math.fsum(e * e for e in effects)
            df[which] = math.prod(len(levels[NAMES[i]]) - 1 for i in which)
    rest = math.fsum((x - stats.mean(of)) ** 2 for of in values.values() for x in of)
    total = math.fsum((x - grand) ** 2 for of in values.values() for x in of)
    out = [_source(which, squares, df, total, rest, len(values) * (seeds - 1)) for which in squares if df[which]]
    return [*out, VarianceSource(SEEDS, rest, len(values) * (seeds - 1), rest / total if total else 0.0)]


def _means(
    values: Mapping[tuple[str, str, str], Sequence[float]],
) -> dict[tuple[int, ...], dict[tuple[str, ...], float]]:
    out: dict[tuple[int, ...], dict[tuple[str, ...], float]] = {}
    for k in range(1, 4):
        for which in itertools.combinations(range(3), k):
            grouped: dict[tuple[str, ...], list[float]] = {}
            for key, of in values.items():
                grouped.setdefault(tuple(key[i] for i in which), []).extend(of)
            out[which] = {at: stats.mean(of) for at, of in grouped.items()}
    return out


def _source(
    which: tuple[int, ...],
    squares: Mapping[tuple[int, ...], float],
    df: Mapping[tuple[int, ...], int],
    total: float,
    rest: float,
    rest_df: int,
) -> VarianceSource:
    task = NAMES.index(DRAWN)
    against = (*which, task) if task not in which else None
    below, below_df = (squares[against], df[against]) if against is not None else (rest, rest_df)
    name = " x ".join(NAMES[i] for i in which)
    share = squares[which] / total if total else 0.0
    if below_df == 0 or below <= 1e-12:
        return VarianceSource(name, squares[which], df[which], share)
    f = (squares[which] / df[which]) / (below / below_df)
    return VarianceSource(name, squares[which], df[which], share, f, f_tail(f, df[which], below_df))


def markdown(section: Section) -> str:
    """The table, and what it is of."""
    scores, levels = balanced(section)
    found = analyse(scores, levels)
    seeds = len(next(iter(scores.values())))
    body = [
        [
            one.name,
            f"{one.squares:.0f}",
            str(one.df),
            f"{100 * one.share:.1f} %",
            text.NONE if one.f is None else f"{one.f:.2f}",
            text.NONE if one.p is None else f"{one.p:.2g}",
        ]
        for one in found
    ]
    of = "; ".join(f"{len(own)} {name}s ({', '.join(own)})" for name, own in levels.items())
    return (
        "\n\n".join(
            [
                "# What differences are of",
                f"Analysis of variance of test scores, in points: {of}; {text.plural(seeds, 'seed')} each. Tasks are "
                "draws: estimators, selectors and both together are held against how they vary by task; what varies by "
                "task, against seeds. The share is that of all squares.",
                text.table(["source", "squares", "df", "share", "F", "p"], body, left=1),
            ]
        )
        + "\n"
    )
