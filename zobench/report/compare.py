"""Who is best in a column, and whether it is: the rule of the bold type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import stats
from .rows import Row, Section, average


@dataclass(frozen=True)
class Verdict:
    """The best row of a column (a task, or the average) and what the others are to it."""

    best: Row
    beaten: tuple[Row, ...]
    tied: tuple[Row, ...]  # not told apart from the best
    untested: tuple[Row, ...]  # nothing to pair: no shared seed, or items not kept
    worst_p: float | None  # the largest p after Holm's correction; None where nothing was tested

    @property
    def bold(self) -> bool:
        """The best is better than every other method that has a score in the column, and there is one."""
        return bool(self.beaten) and not self.tied and not self.untested


def of_task(section: Section, task: str) -> Verdict | None:
    """The verdict on a task's column; None where no method has a score.

    A method of which a seed failed cannot be best: the mean of its other seeds is a chosen one.
    """
    scored = [row for row in section.rivals if row.entry(task).done]
    values = {id(row): row.entry(task).mean() for row in scored}
    able = [row for row in scored if row.entry(task).whole]
    return _judge(scored, able, values, lambda a, b: stats.compare(a.entry(task).items(), b.entry(task).items()))


def of_average(section: Section) -> Verdict | None:
    """The verdict on the column of averages; None where no method has one."""
    tasks = section.scored
    values = {id(row): average(row, tasks) for row in section.rivals}
    scored = [row for row in section.rivals if values[id(row)] is not None]

    def on_all(a: Row, b: Row) -> stats.Comparison | None:
        each = [stats.compare(a.entry(t).items(), b.entry(t).items()) for t in tasks]
        known = [one for one in each if one is not None]
        return stats.combine(known) if len(known) == len(tasks) else None

    return _judge(scored, scored, values, on_all)


def _judge(
    scored: Sequence[Row],
    able: Sequence[Row],
    values: dict[int, float | None],
    compare: Callable[[Row, Row], stats.Comparison | None],
) -> Verdict | None:
    if not able:
        return None
    best = min(able, key=lambda row: (-(values[id(row)] or 0.0), row.name))
    others = [row for row in scored if row is not best]
    found = [(row, compare(best, row)) for row in others]
    tested = [(row, one) for row, one in found if one is not None]
    corrected = stats.holm([one.p for _, one in tested])
    holds = [one.holds(p) for (_, one), p in zip(tested, corrected, strict=True)]
    return Verdict(
        best=best,
        beaten=tuple(row for (row, _), held in zip(tested, holds, strict=True) if held),
        tied=tuple(row for (row, _), held in zip(tested, holds, strict=True) if not held),
        untested=tuple(row for row, one in found if one is None),
        worst_p=max(corrected, default=None),
    )
