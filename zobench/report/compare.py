"""Who is best in a column and whether that is significant (bold type), and which gains over zero-shot hold."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from . import stats
from .rows import MethodRow, Section, average
from .stats import BETTER, UNTESTED, WORSE, Effect, Family, Verdict

AVERAGE = "average"
"""The name of the column of averages."""

CONTROL = "control"
"""The claim that a method is better or worse than full-scope MeZO, on the average."""

Claim: TypeAlias = tuple[str, str, Hashable]
"""What a comparison is for: (claim, column, row)."""


@dataclass(frozen=True)
class ColumnStanding:
    """The best row of a column (a task, or the average) and how the others compare with it."""

    best: MethodRow
    beaten: tuple[MethodRow, ...]
    close: tuple[MethodRow, ...]  # not told apart from the best
    untested: tuple[MethodRow, ...]  # nothing to pair (a seed is missing or failed, items not kept), or too few seeds
    worst_p: float | None  # the largest p after correction; None where nothing was tested
    few: bool  # too few seeds for any verdict

    @property
    def bold(self) -> bool:
        """The best is better than every other method that has a score in the column, and there is one."""
        return bool(self.beaten) and not self.close and not self.untested


@dataclass(frozen=True)
class Verdicts:
    """All comparisons that a section of a board marks, corrected together."""

    best: Mapping[str, ColumnStanding | None]
    """By column: the tasks', then the average's."""
    gains: Mapping[tuple[str, int], Verdict]
    """By task and the row's place in the section: whether it is better than the untouched model."""
    tests: int
    """How many comparisons the widest family has."""
    control: MethodRow | None
    """Full-scope MeZO, which every average is held against; None where the section has none that is whole."""
    found: Mapping[Claim, Effect | None]
    """Every comparison that is marked."""
    p: Mapping[Claim, float]
    """Holm's p of those that could be marked."""
    told: Mapping[Claim, Verdict]
    """The verdict of each."""


def judge(section: Section, family: Family = "board") -> Verdicts:
    """The verdicts of a section's board.

    `family` says over what Holm's correction goes: all comparisons of the board; those of one claim (who is best; who
    gains over zero-shot; who differs from full MeZO); or those of a column.
    """
    columns = {column: _column(section, column) for column in (*section.tasks, AVERAGE)}
    found: dict[Claim, Effect | None] = {}
    for column, (best, others) in columns.items():
        found |= {("best", column, id(row)): _minus(best, row, column, section) for row in others if best is not None}
    for at, row in enumerate(section.rows):
        if not row.untouched:
            found |= {("gain", task, at): row.entry(task).gain for task in section.tasks if row.entry(task).complete}
    control = _control(section)
    held = _held(section, control)
    twins = _twins(section, columns[AVERAGE], control)  # comparisons that are made once, whatever they are for
    found |= {key: one for key, one in held.items() if key not in twins}
    families = _families(found, family)
    p = {key: value for one in families for key, value in stats.corrected(one).items()}
    told = {key: value for one in families for key, value in stats.verdicts(one).items()}
    for key, (twin, verdicts) in twins.items():
        found[key], told[key] = held[key], verdicts.get(told[twin], told[twin])
        p |= {key: p[twin]} if twin in p else {}
    return Verdicts(
        best={
            c: None if best is None else _standing(c, best, others, p, told, found)
            for c, (best, others) in columns.items()
        },
        gains={(c, at): v for (claim, c, at), v in told.items() if claim == "gain" and isinstance(at, int)},
        tests=max((len(stats.corrected(one)) for one in families), default=0),
        control=control,
        found=found,
        p=p,
        told=told,
    )


def _held(section: Section, control: MethodRow | None) -> dict[Claim, Effect | None]:
    """Every method's average against full MeZO's."""
    if control is None:
        return {}
    rows = [(at, row) for at, row in enumerate(section.rows) if row is not control and not row.untouched]
    return {(CONTROL, AVERAGE, at): row.minus(control, section.scored) for at, row in rows}


_TURNED: Mapping[Verdict, Verdict] = {BETTER: WORSE, WORSE: BETTER}


def _twins(
    section: Section, average_of: tuple[MethodRow | None, list[MethodRow]], control: MethodRow | None
) -> dict[Claim, tuple[Claim, Mapping[Verdict, Verdict]]]:
    """Of the comparisons with full MeZO those that are among the best's, and how their verdicts are read there."""
    best, others = average_of
    places = {id(row): at for at, row in enumerate(section.rows)}
    if control is None or best is None:
        return {}
    if best is control:
        return {(CONTROL, AVERAGE, places[id(row)]): (("best", AVERAGE, id(row)), _TURNED) for row in others}
    return {(CONTROL, AVERAGE, places[id(best)]): (("best", AVERAGE, id(control)), {})}


def _control(section: Section) -> MethodRow | None:
    """Full-scope MeZO; of several (other settings) the one with the highest average, the hardest to beat."""
    able = [row for row in section.rivals if row.control]
    whole = [row for row in able if average(row, section.scored) is not None]
    return min(whole, key=lambda row: (-(average(row, section.scored) or 0.0), row.name), default=None)


def _families(found: Mapping[Claim, Effect | None], family: Family) -> list[dict[Claim, Effect | None]]:
    depth = {"board": 0, "claim": 1, "column": 2}[family]
    grouped: dict[tuple[Hashable, ...], dict[Claim, Effect | None]] = {}
    for key, one in found.items():
        grouped.setdefault(key[:depth], {})[key] = one
    return list(grouped.values())


def _column(section: Section, column: str) -> tuple[MethodRow | None, list[MethodRow]]:
    """The best row of a column, and the others that have a score there.

    A method of which a seed failed, or is missing, cannot be best: the mean of its other seeds is a chosen one.
    """
    if column == AVERAGE:
        values = {id(row): average(row, section.scored) for row in section.rivals}
        scored = able = [row for row in section.rivals if values[id(row)] is not None]
    else:
        scored = [row for row in section.rivals if row.entry(column).done]
        values = {id(row): row.entry(column).mean() for row in scored}
        able = [row for row in scored if row.entry(column).complete]
    if not able:
        return None, []
    best = min(able, key=lambda row: (-(values[id(row)] or 0.0), row.name))
    return best, [row for row in scored if row is not best]


def _minus(best: MethodRow, row: MethodRow, column: str, section: Section) -> Effect | None:
    if column == AVERAGE:
        return best.minus(row, section.scored)
    return best.entry(column).minus(row.entry(column))


def _standing(
    column: str,
    best: MethodRow,
    others: Sequence[MethodRow],
    p: Mapping[Claim, float],
    told: Mapping[Claim, Verdict],
    found: Mapping[Claim, Effect | None],
) -> ColumnStanding:
    keys: dict[int, Claim] = {id(row): ("best", column, id(row)) for row in others}
    is_of = {id(row): told[keys[id(row)]] for row in others}
    paired = [one for row in others if (one := found[keys[id(row)]]) is not None]
    return ColumnStanding(
        best=best,
        beaten=tuple(row for row in others if is_of[id(row)] == BETTER),
        close=tuple(row for row in others if is_of[id(row)] not in (BETTER, UNTESTED)),
        untested=tuple(row for row in others if is_of[id(row)] == UNTESTED),
        worst_p=max((p[key] for key in keys.values() if key in p), default=None),
        few=bool(paired) and not any(one.markable for one in paired),
    )
