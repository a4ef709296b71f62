"""One method against another: every task, the average, and what can be said of it. Light: imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ZobenchError, unknown
from . import stats, text
from .record import UNTOUCHED
from .rows import MethodRow, Section
from .stats import MARGIN, Effect
from .tables import MARKS, points, without_one


def find(section: Section, name: str) -> MethodRow | None:
    """The row of a method: `mezo/all`, or `mezo` where there is one of it; None for `zero_shot`, which every record
    has.

    Raises ZobenchError for no such method, and for several.
    """
    if name == UNTOUCHED:
        return None
    said = [f"{row.method}/{row.where}" if row.trains else row.method for row in section.rows]
    exact = [row for row, own in zip(section.rows, said, strict=True) if name in (own, row.name)]
    found = exact or [row for row in section.rows if name in (row.estimator, f"{row.estimator}/{row.selector}")]
    if not found:
        raise ZobenchError(unknown("method of these records", name, said))
    if len(found) > 1:
        several = [own for row, own in zip(section.rows, said, strict=True) if any(row is one for one in found)]
        raise ZobenchError(f"{name} is {len(found)} methods here: name one of {', '.join(several)}")
    return found[0]


def markdown(section: Section, a: MethodRow, b: MethodRow | None, margin: float = MARGIN) -> str:
    """The first against the second (None: the untouched model): a table of tasks, and sentences on the average.

    Raises ZobenchError where there is no task on which both have the same seeds.
    """
    tasks = [task for task in section.tasks if a.entry(task).done and (b is None or b.entry(task).done)]
    names = a.name, UNTOUCHED if b is None else b.name
    each = {task: _effect(task, a, b) for task in tasks}
    known = {task: one for task, one in each.items() if one is not None}
    if not known:
        raise ZobenchError(
            f"{names[0]} and {names[1]} cannot be compared: there is no task on which both have scores by item, of all "
            "the seeds that others have"
        )
    average = stats.combine([*known.values()])
    family: dict[str, Effect | None] = {**known, "average": average} if len(known) > 1 else {**known}
    p, told = stats.corrected(family), stats.verdicts(family, margin)

    def shown(key: str, one: Effect) -> list[str]:
        mark = MARKS.get(told[key], "")
        return [
            points(one) + mark,
            _items(one) if key in known else text.NONE,
            _by_seed(one),
            _p(one.p),
            _p(p.get(key)),
        ]

    lines = [
        [task, *_means(a, b, [task]), *(shown(task, one) if one is not None else [text.NONE] * 5)]
        for task, one in each.items()
    ]
    if len(known) > 1:
        lines.append(["average", *_means(a, b, [*known]), *shown("average", average)])
    headers = ["task", *names, "difference", "items", "by seed", "p", f"p, Holm over {len(family)}"]
    parts = [
        f"# {names[0]} against {names[1]}",
        "Test in percent; the difference in points ± half of its 95 % interval, paired over items and seeds, both "
        "taken as drawn; in items, of a task's test items; at each seed. ▲ ▼: better or worse beyond chance, "
        "corrected.",
        text.table(headers, lines, left=1),
        text.bullets([*_said(average, len(known), margin), *_left_out(tasks, known)]),
    ]
    return "\n\n".join(parts) + "\n"


def _effect(task: str, a: MethodRow, b: MethodRow | None) -> Effect | None:
    if b is not None:
        return a.entry(task).minus(b.entry(task))
    return a.entry(task).gain if a.entry(task).complete else None


def _means(a: MethodRow, b: MethodRow | None, tasks: Sequence[str]) -> list[str]:
    ours = [a.entry(t).mean() for t in tasks]
    theirs = [a.entry(t).mean("zero_shot") if b is None else b.entry(t).mean() for t in tasks]
    return [text.percent(stats.mean([m for m in of if m is not None])) for of in (ours, theirs)]


def _items(one: Effect) -> str:
    n = one.items / len(one.tasks[0].splits)
    return f"{one.mean * n:+.1f} of {n:.0f}"


def _by_seed(one: Effect) -> str:
    return text.NONE if one.fixed else ", ".join(text.signed(d) for d in one.by_seed.values()) or text.NONE


def _p(p: float | None) -> str:
    return text.NONE if p is None else f"{p:.2g}"


def _said(average: Effect, tasks: int, margin: float) -> list[str]:
    over = f"on the average over {tasks} tasks" if tasks > 1 else "on this task"
    lines = [
        f"The difference {over} is {points(average)} points, p = {_p(average.p)} at {average.df:.3g} degrees "
        "of freedom."
    ]
    if tasks > 1:
        lines.append(f"Without any one task it is {without_one(average)}.")
    if not average.markable:
        lines.append(f"Nothing is claimed: {stats.MARK_SEEDS} seeds are needed, and there are {average.seeds}.")
    elif average.p < stats.ALPHA:
        lines.append(
            "This comparison alone, the difference is beyond chance; among others it must be corrected for their "
            "number."
        )
    else:
        lines.append("Not told apart, which is not the same as equal.")
    equal = average.markable and average.equivalent(margin)
    lines.append(
        f"As good as each other within {100 * margin:g} points: {'yes' if equal else 'not shown'} "
        f"(two one-sided tests, p = {_p(average.equivalence_p(margin))})."
    )
    return [*lines, *_power(average)]


def _power(average: Effect) -> list[str]:
    if average.fixed:
        return []
    now = average.power(average.mean, average.seeds)
    if now is None:
        return ["What more seeds would find cannot be said: there is one seed, or there are several splits."]
    needed = average.seeds_needed(average.mean) if average.mean else None
    seeds = "no number of seeds would, of so few items" if needed is None else f"{needed} would in four of five"
    smallest = average.detectable()
    least = "" if smallest is None else f" {average.seeds} seeds find {100 * smallest:.1f} points in four of five."
    found = f"{average.seeds} seeds find it in {100 * now:.0f} % of runs"
    return [f"If {text.signed(average.mean)} points are the truth, {found}; {seeds}.{least}"]


def _left_out(tasks: Sequence[str], known: Sequence[str] | dict[str, Effect]) -> list[str]:
    out = [task for task in tasks if task not in known]
    return [f"Left out, as a seed is missing or failed, or items are not kept: {', '.join(out)}."] if out else []
