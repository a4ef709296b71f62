"""How much of the differences is the estimator's, the selector's, the task's, or of two together: analysis of variance.

Estimators and selectors are the levels of interest; tasks and seeds are draws. So an effect is held against how it
varies from task to task (its interaction with tasks), not against the noise of seeds alone: what differs by task does
not generalise by having many seeds.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..errors import ZobenchError
from . import stats, text
from .rows import Section
from .stats.student import f_tail

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
    low: float | None = None
    """The lower end of the 95 % interval of its share of itself and what it is held against (partial eta squared)."""
    high: float | None = None
    """The upper end."""


Cell = tuple[str, ...]
"""The levels of a cell, one of each factor, the task last."""


def balanced(section: Section) -> tuple[dict[Cell, list[float]], dict[str, list[str]]]:
    """Scores by (estimator, selector, task), one a seed, and the levels: the largest complete grid of the rows.

    Where estimators run along directions (`mezo:lozo`), these are a factor of their own, the second: what is left is
    complete in estimators, directions and selectors; an estimator along its own noise has directions `own`. Estimators
    that lack what others have are left out, or what they lack, whichever keeps more cells. Raises ZobenchError where no
    two levels of a factor other than tasks are left with all tasks and two seeds.
    """
    rows = [row for row in section.rivals if row.trains and row.complete_on(section.scored)]
    where = {(*_apart(row.method), row.where): row for row in rows}
    estimators, families, selectors = (sorted({key[i] for key in where}) for i in range(3))
    grids = []
    for some, these in itertools.product(_subsets(selectors), _subsets(families)):
        own = [m for m in estimators if all((m, d, w) in where for d in these for w in some)]
        grids.append((len(own) * len(these) * len(some), len(some), len(these), own, these, some))
    size, _, _, own, these, some = max(grids, key=lambda grid: grid[:3] + (grid[3], grid[4], grid[5]))
    chosen = list(itertools.product(own, these, some))
    seeds = min((len(where[key].entry(t).done) for key in chosen for t in section.scored), default=0)
    if size < 2 or len(section.scored) < 2 or seeds < 2:
        raise ZobenchError(
            "an analysis of factors needs two methods at least that share a selector (or an estimator), two tasks, "
            "and two seeds of each"
        )
    levels = {"estimator": own, "directions": list(these), "selector": list(some), DRAWN: list(section.scored)}
    if families == [OWN]:
        del levels["directions"]
    keep = [i for i, name in enumerate(("estimator", "directions", "selector")) if name in levels]
    return {
        (*(key[i] for i in keep), t): where[key].entry(t).values()[:seeds] for key in chosen for t in section.scored
    }, levels


OWN = "own"
"""The level of estimators that use their own noise."""


def _apart(method: str) -> tuple[str, str]:
    """A method's name, as the board has it, as the estimator and its directions."""
    estimator, along, family = method.partition(":")
    return estimator, family if along else OWN


def _subsets(names: Sequence[str], most: int = 12) -> list[tuple[str, ...]]:
    """All subsets of a few names; of many all together, and each name alone."""
    if len(names) > most:
        return [tuple(names), *((name,) for name in names)]
    return [c for k in range(1, len(names) + 1) for c in itertools.combinations(names, k)]


def analyse(scores: Mapping[Cell, Sequence[float]], levels: Mapping[str, Sequence[str]]) -> list[VarianceSource]:
    """The sources of variation of a balanced grid, their sums of squares in points squared."""
    names, seeds = tuple(levels), len(next(iter(scores.values())))
    values = {key: [100 * x for x in of] for key, of in scores.items()}
    grand = stats.mean([x for of in values.values() for x in of])
    means = _means(values, len(names))
    squares: dict[tuple[int, ...], float] = {}
    df: dict[tuple[int, ...], int] = {}
    for which in _combinations(len(names)):
        each = len(values) // math.prod(len(levels[names[i]]) for i in which) * seeds
        effects = [m + _below(which, at, means, grand) for at, m in means[which].items()]
        squares[which] = each * math.fsum(e * e for e in effects)
        df[which] = math.prod(len(levels[names[i]]) - 1 for i in which)
    rest = math.fsum((x - stats.mean(of)) ** 2 for of in values.values() for x in of)
    whole = math.fsum((x - grand) ** 2 for of in values.values() for x in of)
    left = len(values) * (seeds - 1)
    found = {which: VarianceSource(_named(which, names), squares[which], df[which], 0.0) for which in squares}
    seeds_alone = VarianceSource(SEEDS, rest, left, 0.0)
    task = names.index(DRAWN)
    out = [
        _held(one, seeds_alone if task in which else found[*which, task], whole)
        for which, one in found.items()
        if df[which]
    ]
    return [*out, replace(seeds_alone, share=rest / whole if whole else 0.0)]


def _combinations(count: int) -> list[tuple[int, ...]]:
    """One factor alone, two together, and so on."""
    return [which for k in range(1, count + 1) for which in itertools.combinations(range(count), k)]


def _below(
    which: tuple[int, ...], at: Cell, means: Mapping[tuple[int, ...], Mapping[Cell, float]], grand: float
) -> float:
    """What is taken off a mean to leave the effect of these factors together."""
    return math.fsum(
        (-1.0) ** (len(which) - j) * (means[sub][tuple(at[which.index(i)] for i in sub)] if sub else grand)
        for j in range(len(which))
        for sub in itertools.combinations(which, j)
    )


def _means(values: Mapping[Cell, Sequence[float]], count: int) -> dict[tuple[int, ...], dict[Cell, float]]:
    out: dict[tuple[int, ...], dict[Cell, float]] = {}
    for which in _combinations(count):
        grouped: dict[Cell, list[float]] = {}
        for key, of in values.items():
            grouped.setdefault(tuple(key[i] for i in which), []).extend(of)
        out[which] = {at: stats.mean(of) for at, of in grouped.items()}
    return out


def _named(which: tuple[int, ...], names: Sequence[str]) -> str:
    return " x ".join(names[i] for i in which)


def _held(one: VarianceSource, against: VarianceSource, whole: float) -> VarianceSource:
    """A source held against how it varies; whole: all squares."""
    one = replace(one, share=one.squares / whole if whole else 0.0)
    if against.df == 0 or against.squares <= 1e-12:
        return one
    f = (one.squares / one.df) / (against.squares / against.df)
    low, high = partial_share(f, one.df, against.df)
    return replace(one, f=f, p=f_tail(f, one.df, against.df), low=low, high=high)


def partial_share(f: float, df: int, below: int, level: float = 0.95) -> tuple[float, float]:
    """An interval of what an effect explains, as a share of itself and of what it is held against together.

    By inverting the noncentral F distribution (Steiger 2004, Psychological Methods 9(2)): with noncentrality x the
    share is x / (x + df + below + 1). f: the statistic; df, below: its degrees of freedom.
    """
    outside = (1 - level) / 2
    ends = (_noncentrality(f, df, below, outside), _noncentrality(f, df, below, 1 - outside))
    low, high = (x / (x + df + below + 1) for x in ends)
    return low, high


def _noncentrality(f: float, df: int, below: int, tail: float) -> float:
    """The noncentrality at which so much of the distribution lies above f; 0 where it lies there for none."""
    if f <= 0 or _above(f, df, below, 0.0) >= tail:
        return 0.0
    top = 1.0
    while _above(f, df, below, top) < tail:
        top *= 2
        if top > 1e6:
            return top
    bottom = 0.0
    for _ in range(60):
        middle = (bottom + top) / 2
        bottom, top = (middle, top) if _above(f, df, below, middle) < tail else (bottom, middle)
    return (bottom + top) / 2


def _above(f: float, df: int, below: int, x: float) -> float:
    """P(F > f) of the noncentral F distribution: central ones, weighed by a Poisson distribution of mean x / 2."""
    mean = x / 2
    first = max(0, int(mean - 12 * math.sqrt(mean + 1)))
    total = 0.0
    for j in range(first, int(mean + 12 * math.sqrt(mean + 1)) + 12):
        log = (j * math.log(mean) if mean > 0 else (0.0 if j == 0 else -math.inf)) - mean - math.lgamma(j + 1)
        if log > -745:
            total += math.exp(log) * f_tail(f * df / (df + 2 * j), df + 2 * j, below)
    return total


def markdown(section: Section) -> str:
    """The tables, and what they are of."""
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
            text.NONE if one.low is None or one.high is None else f"{100 * one.low:.0f} to {100 * one.high:.0f} %",
        ]
        for one in found
    ]
    of = "; ".join(f"{_counted(name, len(own))} ({', '.join(own)})" for name, own in levels.items())
    return (
        "\n\n".join(
            [
                "# What differences are of",
                f"Analysis of variance of test scores, in points: {of}; {text.plural(seeds, 'seed')} each. Tasks are "
                "draws: all else, alone and together, is held against how it varies by task; what varies by "
                "task, against seeds. The share is that of all squares. The interval (95 %) is of the share of a "
                "source among itself and what it is held against.",
                text.table(["source", "squares", "df", "share", "F", "p", "interval"], body, left=1),
                "## Means of levels",
                "In points, over all tasks, seeds and the other factors.",
                *_tables_of_means(scores, levels),
            ]
        )
        + "\n"
    )


def _counted(name: str, count: int) -> str:
    return f"{count} {name}" if name.endswith("s") or count == 1 else f"{count} {name}s"


def _tables_of_means(scores: Mapping[Cell, Sequence[float]], levels: Mapping[str, Sequence[str]]) -> list[str]:
    """The first factor's levels by the selectors', and the directions' by the selectors', where there are some."""
    names = tuple(levels)
    means = _means({key: [100 * x for x in of] for key, of in scores.items()}, len(names))
    out = []
    for name in (name for name in names[: names.index("selector")] if len(levels[name]) > 1):
        i, j = names.index(name), names.index("selector")
        body = [
            [own, *(f"{means[i, j][own, w]:.1f}" for w in levels["selector"]), f"{means[i,][own,]:.1f}"]
            for own in sorted(levels[name], key=lambda own: -means[i,][own,])
        ]
        out.append(text.table([name, *levels["selector"], "mean"], body, left=1))
    return out


def facts(section: Section) -> dict[str, Any]:
    """For programs: the levels of each factor, and the sources of variation."""
    scores, levels = balanced(section)
    return {
        "levels": levels,
        "seeds": len(next(iter(scores.values()))),
        "sources": [asdict(one) for one in analyse(scores, levels)],
    }
