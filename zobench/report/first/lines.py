"""A method's line on the first screen, as numbers: nothing here is text that a page would have to read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import costs, stats
from ..compare import CONTROL, Verdicts
from ..rows import MethodRow, Section, average
from ..stats import BETTER, WORSE, Effect, Verdict
from ..taken import taken


@dataclass(frozen=True)
class Rank:
    """A place by average. Those not told apart from the best share the first."""

    place: int
    tested: bool
    """Whether a comparison with the best says so; else it is the order of averages alone."""

    def __str__(self) -> str:
        return str(self.place) if self.tested else f"({self.place})"


@dataclass(frozen=True)
class Counts:
    """Number of tasks on which it is better, not told apart, or worse. Tasks with failures are left out."""

    better: int
    same: int
    worse: int


@dataclass(frozen=True)
class Line:
    """One method. Scores are fractions, times seconds, memory bytes; None: not known, or nothing to show."""

    row: MethodRow
    rank: Rank | None
    share: tuple[float, float] | None
    """Of the model's parameters that may move: the least and the most of its cells."""
    average: float | None
    effect: Effect | None
    gain: Effect | None
    """Of the average over zero-shot."""
    gained: float | None
    """That gain where its interval is not known, too."""
    control: Effect | None
    """The average less that of full MeZO."""
    control_p: float | None
    """Holm's p of it, over all comparisons that the board marks."""
    control_verdict: Verdict | None
    counts: Counts | None
    """By task, against full MeZO where the board has it, else against the untouched model."""
    speedup: float | None
    step_s: float | None
    peak_bytes: int | None
    forwards: float | None
    """Of the training of one learning rate; a backward pass is two."""


def lines(section: Section, verdicts: Verdicts) -> list[Line]:
    """A line a row of the section, in its order."""
    ranks = _ranks(section, verdicts)
    counted = _against_control(section, verdicts.control)
    return [_line(section, row, at, verdicts, ranks, counted) for at, row in enumerate(section.rows)]


def _line(
    section: Section,
    row: MethodRow,
    at: int,
    verdicts: Verdicts,
    ranks: dict[int, Rank],
    counted: dict[tuple[int, str], Verdict],
) -> Line:
    tasks = section.scored
    gain = None if row.untouched else row.gain(tasks)
    done = [r for task in section.tasks for r in row.entry(task).done.values()]
    shares = [r["scope"]["fraction"] for r in done if r["scope"] is not None]
    ratios = costs.ratios(row, section.tasks)
    peaks = [r["memory"]["peak_bytes"] for r in done if r["memory"].get("peak_bytes") is not None]
    claim = (CONTROL, "average", at)
    return Line(
        row=row,
        rank=ranks.get(at),
        share=(min(shares), max(shares)) if shares else None,
        average=average(row, tasks),
        effect=row.effect(tasks),
        gain=gain,
        gained=gain.mean if gain is not None else _gained(row, tasks),
        control=verdicts.found.get(claim),
        control_p=verdicts.p.get(claim),
        control_verdict=verdicts.told.get(claim),
        counts=_counts(section, row, at, verdicts, counted),
        speedup=stats.geometric_mean(ratios) if ratios else None,
        step_s=costs.mean_time(row, section.tasks, "step_s"),
        peak_bytes=max(peaks) if peaks else None,
        forwards=taken(row).get("run") if row.trains and done else None,
    )


def _gained(row: MethodRow, tasks: Sequence[str]) -> float | None:
    after = average(row, tasks)
    before = [row.entry(t).mean("zero_shot") for t in tasks if row.entry(t).done]
    known = [b for b in before if b is not None]
    return None if row.untouched or after is None or not known else after - stats.mean(known)


def _ranks(section: Section, verdicts: Verdicts) -> dict[int, Rank]:
    """By the row's place in the section, of the methods that have an average and are no references."""
    values = {at: average(row, section.scored) for at, row in enumerate(section.rows) if not row.reference}
    known = {at: round(value, 9) for at, value in values.items() if value is not None}
    standing = verdicts.best["average"]
    if standing is None or len(known) < 2:
        return {}
    close, beaten = ({id(row) for row in some} for some in (standing.close, standing.beaten))
    out: dict[int, Rank] = {}
    for at, value in known.items():
        row, place = section.rows[at], 1 + sum(other > value for other in known.values())
        if id(row) in close or (row is standing.best and (close or beaten)):
            out[at] = Rank(1, True)
        else:
            out[at] = Rank(place, id(row) in beaten)
    return out


def _against_control(section: Section, control: MethodRow | None) -> dict[tuple[int, str], Verdict]:
    """By row and task: better or worse than full MeZO, at a false discovery rate as these are counted (statistics)."""
    if control is None:
        return {}
    found = {
        (at, task): row.entry(task).minus(control.entry(task))
        for at, row in enumerate(section.rows)
        if row is not control and not row.untouched
        for task in section.scored
    }
    return stats.discoveries(found)


def _counts(
    section: Section, row: MethodRow, at: int, verdicts: Verdicts, counted: dict[tuple[int, str], Verdict]
) -> Counts | None:
    if row.untouched or row is verdicts.control:
        return None
    if verdicts.control is None:
        told = [verdicts.gains.get((task, at)) for task in section.scored]
    else:
        told = [counted.get((at, task)) for task in section.scored]
    known = [one for one in told if one is not None and one != stats.UNTESTED]
    if not known:
        return None
    better, worse = known.count(BETTER), known.count(WORSE)
    return Counts(better, len(known) - better - worse, worse)
