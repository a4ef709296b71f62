"""Methods against controls, from a board's records: where a gain over MeZO is left, and where it goes.

Estimators that share a selector are held against some of them, or selectors that share an estimator: on the average
over tasks, paired over test items, Holm's correction over the rows of a table. Light: imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import ZobenchError, unknown
from . import stats, text
from .record import OF_A_BACKWARD
from .rows import Row, Section, average

Kind: TypeAlias = Literal["estimator", "selector"]
"""What is compared: rows that share the other."""
BETTER, WORSE, SAME = "better", "worse", "not told apart"


@dataclass(frozen=True)
class Against:
    """A method and one control, on the average over tasks."""

    control: Row
    compared: stats.Comparison | None
    """Positive: in favour of the method. None where they share no items."""
    verdict: str
    """Better, worse, or not told apart: after correction, and with seeds that agree."""


@dataclass(frozen=True)
class Standing:
    """One method in its table: its average, and what it is to each control."""

    row: Row
    name: str
    average: float
    against: tuple[Against, ...]


@dataclass(frozen=True)
class Field:
    """The estimators that share a selector (or the other way round), best first. `partial`: rows without an average."""

    kind: Kind
    shared: str
    standings: tuple[Standing, ...]
    partial: tuple[str, ...]


def named(row: Row, kind: Kind) -> str:
    """The row's name in a field."""
    return row.method if kind == "estimator" else row.where


def fields(section: Section, controls: Sequence[str], kind: Kind = "estimator") -> list[Field]:
    """A field for each selector (or estimator) of the section with two rows or more, all against these controls.

    Raises ZobenchError for a control that the section does not have.
    """
    trained = [row for row in section.rows if row.trains]
    for name in controls:
        if name not in (known := sorted({named(row, kind) for row in trained})):
            raise ZobenchError(unknown(f"{kind} of these records", name, known))
    by_other: dict[str, list[Row]] = {}
    for row in trained:
        by_other.setdefault(named(row, "selector" if kind == "estimator" else "estimator"), []).append(row)
    found = [(other, rows) for other, rows in sorted(by_other.items()) if len(rows) > 1]
    return [_field(kind, other, rows, section, controls) for other, rows in found]


def _field(kind: Kind, shared: str, rows: Sequence[Row], section: Section, controls: Sequence[str]) -> Field:
    means = {id(row): m for row in rows if (m := average(row, section.scored)) is not None}
    whole = [row for row in rows if id(row) in means]
    judged = []
    for name in controls:
        control = next((row for row in whole if named(row, kind) == name), None)
        judged.append({} if control is None else _judged(control, whole, section.scored))
    standings = [
        Standing(row, named(row, kind), means[id(row)], tuple(one[id(row)] for one in judged if id(row) in one))
        for row in whole
    ]
    return Field(
        kind=kind,
        shared=shared,
        standings=tuple(sorted(standings, key=lambda s: (-round(s.average, 9), s.name))),
        partial=tuple(named(row, kind) for row in rows if id(row) not in means),
    )


def _judged(control: Row, rows: Sequence[Row], tasks: Sequence[str]) -> dict[int, Against]:
    """Every other row against the control, by the row's id."""
    found = [(row, _on_all(row, control, tasks)) for row in rows if row is not control]
    tested = [(row, one) for row, one in found if one is not None]
    corrected = stats.holm([one.p for _, one in tested])
    out = {id(row): Against(control, None, SAME) for row, one in found if one is None}
    for (row, one), p in zip(tested, corrected, strict=True):
        sure = p < stats.ALPHA and one.seeds_agree
        out[id(row)] = Against(control, one, (BETTER if one.difference > 0 else WORSE) if sure else SAME)
    return out


def _on_all(a: Row, b: Row, tasks: Sequence[str]) -> stats.Comparison | None:
    each = [stats.compare(a.entry(t).items(), b.entry(t).items()) for t in tasks]
    known = [one for one in each if one is not None]
    return stats.combine(known) if known and len(known) == len(tasks) else None


MARKS = {BETTER: " ▲", WORSE: " ▼", SAME: ""}
HOW = (
    "The mean of test over tasks and seeds, in percent; then the difference from each control with its standard error, "
    "paired over test items. ▲ ▼: better or worse than it, after Holm's correction over the column, with seeds that "
    "agree; no mark: not told apart."
)


def markdown(section: Section, controls: Sequence[str], kind: Kind = "estimator") -> str:
    """A table for each selector (or estimator), and what it says in words."""
    found = fields(section, controls, kind)
    if not found:
        raise ZobenchError(f"nothing to compare: there are no two {kind}s with the same other half")
    parts = [f"{HOW} Tasks: {', '.join(section.scored)}."]
    for field in found:
        parts += [f"## {field.shared}", _table(field, section, controls), text.bullets(_said(field, controls))]
    return "\n\n".join(parts) + "\n"


def _table(field: Field, section: Section, controls: Sequence[str]) -> str:
    rows = []
    for standing in field.standings:
        against = {named(one.control, field.kind): one for one in standing.against}
        means = [standing.row.entry(task).mean() for task in section.scored]
        rows.append(
            [f"*{standing.name}*" if standing.row.reference else standing.name]
            + [text.percent(m) for m in [*means, standing.average] if m is not None]
            + [_shown(against.get(name)) for name in controls]
        )
    nothing = [text.NONE] * len(section.scored)
    rows += [[name, *nothing, "no average", *[text.NONE] * len(controls)] for name in field.partial]
    return text.table([field.kind, *section.scored, "average", *(f"− {c}" for c in controls)], rows, left=1)


def _shown(one: Against | None) -> str:
    if one is None or one.compared is None:
        return text.NONE
    return f"{text.signed(one.compared.difference)} ± {text.percent(one.compared.stderr)}{MARKS[one.verdict]}"


def _said(field: Field, controls: Sequence[str]) -> list[str]:
    """Who is better than each control; and of those that beat the first, from whom the others take it."""
    verdicts = {
        s.name: {named(a.control, field.kind): a.verdict for a in s.against}
        for s in field.standings
        if not s.row.reference
    }
    lines = []
    for control in controls:
        found = {name: told[control] for name, told in verdicts.items() if control in told}
        if found:
            better = [name for name, verdict in found.items() if verdict == BETTER]
            worse = [name for name, verdict in found.items() if verdict == WORSE]
            lines.append(
                f"Better than {control}: {', '.join(better) or 'none'}. Worse: {', '.join(worse) or 'none'}. "
                f"Not told apart: {len(found) - len(worse) - len(better)} of {len(found)}."
            )
    first, rest = controls[0], controls[1:]
    for name, told in verdicts.items():
        lost = [control for control in rest if told.get(control, BETTER) != BETTER]
        if told.get(first) == BETTER and lost and name not in rest:
            lines.append(f"{name} is better than {first}, but not than {', '.join(lost)}.")
    return lines


def taken(row: Row) -> dict[str, float]:
    """What a row's cells took: forwards, further forwards and backward passes a step, all of them a run (a backward
    pass is two), and bytes of state a parameter of the scope, as measured; means over cells, the state's largest.
    """
    done = [r for entry in row.entries.values() for r in entry.done.values()]
    steps = sum(trial["steps"] for r in done for trial in r["trials"])
    spent = {p: sum(r["forwards"].get(p, 0) for r in done) for p in ("train", "extra", "backward")}
    out = {purpose: n / steps for purpose, n in spent.items() if steps}
    if runs := sum(len(r["trials"]) for r in done):
        out["run"] = (spent["train"] + spent["extra"] + OF_A_BACKWARD * spent["backward"]) / runs
    states = [
        r["memory"]["state_bytes"] / scope["parameters"]
        for r in done
        if (scope := r["scope"]) is not None and "state_bytes" in r["memory"]
    ]
    return out | ({"state": max(states)} if states else {})


@dataclass(frozen=True)
class Choice:
    """What a row's selector chose, and what that took: means over cells."""

    forwards: float
    """Forwards to choose: on calibration batches and in probes, those on dev included."""
    seconds: float
    fraction: float
    """Of the model's parameters that may move."""
    blocks: tuple[tuple[tuple[int, ...], int], ...]
    """The sets of blocks that were chosen, and in how many cells: the most frequent first."""


def choice(row: Row) -> Choice | None:
    """What the row's selector did; None where no cell ended well."""
    done = [r for entry in row.entries.values() for r in entry.done.values()]
    scopes = [scope for r in done if (scope := r["scope"]) is not None]
    if not scopes:
        return None
    spent = [r["forwards"].get("calibration", 0) + r["forwards"].get("probe", 0) for r in done]
    return Choice(
        forwards=stats.mean(spent),
        seconds=stats.mean([r["time"].get("select_s", 0.0) for r in done]),
        fraction=stats.mean([scope["fraction"] for scope in scopes]),
        blocks=tuple(Counter(tuple(scope["layers"]) for scope in scopes).most_common()),
    )
