"""Ranks of a board's methods: with intervals, by Friedman's test from ten tasks on, and as performance profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..errors import ZobenchError
from . import stats, text
from .rows import MethodRow, Section
from .stats import Friedman

Cost: TypeAlias = Literal["error", "forwards", "seconds"]
"""What a performance profile counts: wrong answers, forwards, or seconds of training."""

TAUS = (1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True)
class Ranked:
    """A method's rank by its average over tasks, and the 95 % interval of that rank."""

    row: MethodRow
    rank: float
    low: float
    high: float


def ranked(section: Section, draws: int = 2000) -> list[Ranked]:
    """The rivals that are whole and have MARK_SEEDS seeds, best first. ZobenchError for fewer than two."""
    rows = _whole(section)
    tables = [[[*row.entry(task).items().values()] for row in rows] for task in section.scored]
    found = stats.rank_intervals(tables, draws=draws)
    made = [Ranked(row, *one) for row, one in zip(rows, found, strict=True)]
    return sorted(made, key=lambda one: (one.rank, one.row.name))


def _whole(section: Section) -> list[MethodRow]:
    rows = [row for row in section.rivals if row.trains and _able(row, section)]
    if len(rows) < 2:
        raise ZobenchError(
            f"ranks need two methods with {stats.MARK_SEEDS} seeds or more of every task, and scores by item"
        )
    return rows


def _able(row: MethodRow, section: Section) -> bool:
    effect = row.effect(section.scored)
    kept = all(len(row.entry(task).items()) == len(row.entry(task).done) for task in section.scored)
    return effect is not None and effect.markable and kept


def test_of_ranks(section: Section) -> tuple[list[MethodRow], Friedman] | None:
    """Friedman's test over tasks; None for fewer than FRIEDMAN_TASKS of them."""
    if len(section.scored) < stats.FRIEDMAN_TASKS:
        return None
    rows = _whole(section)
    means = [[row.entry(task).mean() or 0.0 for row in rows] for task in section.scored]
    return rows, stats.friedman(means)


def profiles(section: Section, cost: Cost = "error", taus: Sequence[float] = TAUS) -> dict[str, list[float]]:
    """Of each method that trains the fraction of tasks on which it costs at most tau times what the cheapest does."""
    rows = [row for row in section.rivals if row.trains]
    costs = [
        {row.name: value for row in rows if (value := _cost(row, task, cost)) is not None} for task in section.scored
    ]
    return stats.profile([of_task for of_task in costs if of_task], taus)


def _cost(row: MethodRow, task: str, cost: Cost) -> float | None:
    entry = row.entry(task)
    if not entry.complete:
        return None
    if cost == "error":
        return 1.0 - stats.mean(entry.values())
    if cost == "forwards":
        return stats.mean(
            [float(r["forwards"].get("train", 0) + r["forwards"].get("extra", 0)) for r in entry.done.values()]
        )
    seconds = [r["time"]["train_s"] for r in entry.done.values() if r["time"].get("train_s") is not None]
    return stats.mean(seconds) if len(seconds) == len(entry.done) else None


def markdown(section: Section, cost: Cost = "error", taus: Sequence[float] = TAUS) -> str:
    """Ranks with their intervals, Friedman's test where there are tasks for it, and performance profiles."""
    found = ranked(section)
    body = [[one.row.method, one.row.where, f"{one.rank:g}", f"{one.low:g} to {one.high:g}"] for one in found]
    parts = [
        "# Ranks",
        f"Of {len(found)} methods by their average over {text.plural(len(section.scored), 'task')}; the 95 % "
        "interval of a rank is from seeds and test items drawn again together (2,000 times), for all methods alike.",
        text.table(["method", "selector", "rank", "95 %"], body),
    ]
    parts += _friedman(section)
    shown = profiles(section, cost, taus)
    order = sorted(shown, key=lambda name: ([-x for x in shown[name]], name))
    counted = {
        "error": "wrong answers (100 % less the score)",
        "forwards": "forwards of training",
        "seconds": "seconds of training",
    }
    parts += [
        "## Performance profile",
        f"The part of tasks on which a method's {counted[cost]} are at most τ times those of the best.",
        text.table(
            ["method", *(f"τ = {tau:g}" for tau in taus)], [[n, *(f"{x:.2f}" for x in shown[n])] for n in order], left=1
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _friedman(section: Section) -> list[str]:
    found = test_of_ranks(section)
    if found is None:
        said = (
            f"Friedman's test is shown from {stats.FRIEDMAN_TASKS} tasks on: ranks over {len(section.scored)} are few."
        )
        return ["## Friedman's test", said]
    rows, test = found
    order = sorted(range(len(rows)), key=lambda i: (test.mean_ranks[i], rows[i].name))
    body = [[rows[i].method, rows[i].where, f"{test.mean_ranks[i]:.2f}"] for i in order]
    groups = [
        ", ".join(rows[i].name for i in group) for group in stats.cliques(test.mean_ranks, test.critical_difference)
    ]
    return [
        "## Friedman's test",
        f"Ranks within each of {len(section.scored)} tasks, tasks as the only draws: chi-square {test.chi2:.1f}, p = "
        f"{test.p:.2g} (Iman and Davenport). Critical difference of two mean ranks (Nemenyi, 5 %): "
        f"{test.critical_difference:.2f}.",
        text.table(["method", "selector", "mean rank"], body),
        text.bullets([f"Not told apart: {group}." for group in groups] or ["All mean ranks are told apart."]),
    ]


def facts(section: Section, cost: Cost = "error", taus: Sequence[float] = TAUS) -> dict[str, Any]:
    """For programs: ranks, Friedman's test where it is shown, and the performance profile."""
    test = test_of_ranks(section)
    return {
        "ranks": [
            {"estimator": one.row.method, "selector": one.row.where, "rank": one.rank, "low": one.low, "high": one.high}
            for one in ranked(section)
        ],
        "friedman": None
        if test is None
        else {
            "chi2": test[1].chi2,
            "p": test[1].p,
            "critical_difference": test[1].critical_difference,
            "mean_ranks": {row.name: rank for row, rank in zip(test[0], test[1].mean_ranks, strict=True)},
        },
        "profile": {"cost": cost, "taus": list(taus), "methods": profiles(section, cost, taus)},
    }
