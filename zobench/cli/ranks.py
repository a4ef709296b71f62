"""`zobench analyze ranks` and `factors`: many methods at once, from records. Imports no torch."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .common import Results, figure_class, picture, section_of
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.rows import Section


class CostName(enum.StrEnum):
    """What a performance profile counts."""

    error = "error"
    forwards = "forwards"
    seconds = "seconds"


@shares
def ranks(
    results: Results,
    written: WrittenOptions,
    cost: Annotated[CostName, typer.Option(help="What the performance profile counts.")] = CostName.error,
) -> None:
    """Print ranks with intervals, Friedman's test from ten tasks on, and performance profiles.

    The picture has the ranks with their intervals; from ten tasks on a critical-difference diagram beside them.
    """
    written.check()
    from ..report import facts, ranking

    section = section_of(results)
    numbers = {**facts.section(section), **ranking.facts(section, cost.value)}
    written.end(ranking.markdown(section, cost.value), numbers, lambda path: drawn(path, section))


@shares
def factors(
    results: Results,
    written: WrittenOptions,
) -> None:
    """Print how much of the differences is of estimators, directions, selectors, tasks: an analysis of variance.

    Directions are a factor where estimators run along some, such as mezo:lozo. The picture has the shares with the
    intervals of what is held against how it varies by task.
    """
    written.check()
    from ..report import factors as report
    from ..report import facts

    section = section_of(results)
    numbers = {**facts.section(section), **report.facts(section)}
    written.end(report.markdown(section), numbers, lambda path: shares_drawn(path, section))


def shares_drawn(path: Path, section: Section) -> bytes:
    """What each source has of all squares, and the interval of its share among itself and what it is held against."""
    from ..report import factors as report

    found = report.analyse(*report.balanced(section))[::-1]
    figure = figure_class(path)(figsize=(9.0, 1.2 + 0.28 * len(found)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    left.barh(range(len(found)), [100 * one.share for one in found], color="tab:blue")
    left.set_yticks(range(len(found)), [one.name for one in found], fontsize="small")
    left.set(xlabel="share of all squares, %")
    for at, one in enumerate(found):
        if one.low is not None and one.high is not None:
            right.plot([100 * one.low, 100 * one.high], [at, at], "-", linewidth=3, color="tab:orange")
    right.set(xlabel="of itself and what it is held against,\n%, 95 % interval", xlim=(0, 100))
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    return picture(figure, path)


def drawn(path: Path, section: Section) -> bytes:
    """Ranks with their 95 % intervals; from ten tasks on mean ranks, with bars over what is not told apart."""
    from ..report import ranking, stats

    found, test = ranking.ranked(section), ranking.test_of_ranks(section)
    panels = 1 if test is None else 2
    figure = figure_class(path)(figsize=(5.0 * panels, 1.2 + 0.22 * len(found)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for at, one in enumerate(reversed(found)):
        axes[0].errorbar(
            [one.rank], [at], xerr=[[one.rank - one.low], [one.high - one.rank]], marker="o", color="tab:blue"
        )
    axes[0].set_yticks(range(len(found)), [one.row.name for one in reversed(found)], fontsize="small")
    axes[0].set(xlabel="rank by average (95 % interval)")
    axes[0].grid(axis="x", alpha=0.3)
    if test is not None:
        rows, result = test
        order = sorted(range(len(rows)), key=lambda i: (result.mean_ranks[i], rows[i].name))
        for at, i in enumerate(reversed(order)):
            axes[1].plot([result.mean_ranks[i]], [at], "o", color="tab:blue")
        for k, group in enumerate(stats.cliques(result.mean_ranks, result.critical_difference)):
            of_group = [result.mean_ranks[i] for i in group]
            axes[1].plot([min(of_group), max(of_group)], [-1 - 0.4 * k] * 2, linewidth=3, color="tab:gray")
        axes[1].set_yticks(range(len(order)), [rows[i].name for i in reversed(order)], fontsize="small")
        axes[1].set(xlabel=f"mean rank; grey: within the critical difference, {result.critical_difference:.2f}")
        axes[1].grid(axis="x", alpha=0.3)
    return picture(figure, path)
