"""Methods against controls, from a board's records: where a gain over MeZO is left, and where it goes.

Estimators that share a selector are held against some of them, or selectors that share an estimator: on the average
over tasks, paired over test items and seeds, corrected over all comparisons of the page. Light: imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..errors import ZobenchError, unknown
from . import facts as facts_of
from . import stats, text
from .rows import MethodRow, Section, average
from .stats import BETTER, EQUAL, MARGIN, SAME, UNTESTED, WORSE, Effect, Family, Verdict
from .tables import points, without_one

Kind: TypeAlias = Literal["estimator", "selector"]
"""What is compared: rows that share the other."""


@dataclass(frozen=True)
class Against:
    """A method and one control, on the average over tasks."""

    control: MethodRow
    compared: Effect | None
    """Positive: in favour of the method. None where they cannot be paired."""
    verdict: Verdict
    """What is claimed: corrected by Holm."""
    counted: Verdict
    """What is counted: at a false discovery rate (Benjamini-Hochberg)."""


@dataclass(frozen=True)
class MethodStanding:
    """One method in its table: its average, and what it is to each control."""

    row: MethodRow
    name: str
    average: float
    against: tuple[Against, ...]


@dataclass(frozen=True)
class Field:
    """The estimators that share a selector (or the other way round), best first. `partial`: rows without an average."""

    kind: Kind
    shared: str
    standings: tuple[MethodStanding, ...]
    partial: tuple[str, ...]


Key: TypeAlias = tuple[str, str, str]
"""A comparison of a page: control, what the field shares, the row's name in it."""


def named(row: MethodRow, kind: Kind) -> str:
    """The row's name in a field."""
    return row.method if kind == "estimator" else row.where


def fields(
    section: Section,
    controls: Sequence[str],
    kind: Kind = "estimator",
    family: Family = "board",
    margin: float = MARGIN,
) -> list[Field]:
    """A field for each selector (or estimator) of the section with two rows or more, all against these controls.

    Verdicts are corrected over all comparisons of all fields; or (`family`) over those with one control, or with one
    control in one field. `margin`: a fraction; two methods within it are as good as each other.
    Raises ZobenchError for a control that the section does not have.
    """
    trained = [row for row in section.rows if row.trains]
    for name in controls:
        if name not in (known := sorted({named(row, kind) for row in trained})):
            raise ZobenchError(unknown(f"{kind} of these records", name, known))
    by_other: dict[str, list[MethodRow]] = {}
    for row in trained:
        by_other.setdefault(named(row, "selector" if kind == "estimator" else "estimator"), []).append(row)
    shared = {other: rows for other, rows in sorted(by_other.items()) if len(rows) > 1}
    found: dict[Key, tuple[MethodRow, Effect | None]] = {}
    for other, rows in shared.items():
        whole = [row for row in rows if average(row, section.scored) is not None]
        for name in controls:
            control = next((row for row in whole if named(row, kind) == name), None)
            for row in whole if control is not None else []:
                if control is not None and row is not control:
                    found[name, other, named(row, kind)] = control, row.minus(control, section.scored)
    claimed, counted = _judged({key: one for key, (_, one) in found.items()}, family, margin)
    against = {key: Against(control, one, claimed[key], counted[key]) for key, (control, one) in found.items()}
    return [_field(kind, other, rows, section, against, controls) for other, rows in shared.items()]


def _judged(
    found: Mapping[Key, Effect | None], family: Family, margin: float
) -> tuple[dict[Key, Verdict], dict[Key, Verdict]]:
    depth = {"board": 0, "claim": 1, "column": 2}[family]
    claimed: dict[Key, Verdict] = {}
    counted: dict[Key, Verdict] = {}
    for own in dict.fromkeys(key[:depth] for key in found):
        one = {key: effect for key, effect in found.items() if key[:depth] == own}
        claimed |= stats.verdicts(one, margin)
        counted |= stats.discoveries(one)
    return claimed, counted


def _field(
    kind: Kind,
    shared: str,
    rows: Sequence[MethodRow],
    section: Section,
    against: Mapping[Key, Against],
    controls: Sequence[str],
) -> Field:
    means = {id(row): m for row in rows if (m := average(row, section.scored)) is not None}
    standings = [
        MethodStanding(
            row,
            named(row, kind),
            means[id(row)],
            tuple(against[key] for name in controls if (key := (name, shared, named(row, kind))) in against),
        )
        for row in rows
        if id(row) in means
    ]
    return Field(
        kind=kind,
        shared=shared,
        standings=tuple(sorted(standings, key=lambda s: (-round(s.average, 9), s.name))),
        partial=tuple(named(row, kind) for row in rows if id(row) not in means),
    )


MARKS = {BETTER: " ▲", WORSE: " ▼", EQUAL: " ≈", SAME: "", UNTESTED: ""}
FAMILIES: Mapping[Family, str] = {
    "board": "all {} comparisons of this page",
    "claim": "the comparisons with one control, {} at most",
    "column": "the comparisons of one column, {} at most",
}


def _how(found: Sequence[Field], family: Family, margin: float) -> str:
    tests: dict[tuple[str, ...], int] = {}
    for field in found:
        for standing in field.standings:
            for one in standing.against:
                key = (named(one.control, field.kind), field.shared)[: {"board": 0, "claim": 1, "column": 2}[family]]
                tests[key] = tests.get(key, 0) + (one.compared is not None and one.compared.markable)
    number = FAMILIES[family].format(max(tests.values(), default=0))
    return (
        "The mean of test over tasks and seeds, in percent; then the difference from each control with half of its "
        "95 % interval, paired over test items and seeds, both taken as drawn; in brackets its range when any one "
        f"task is left out. ▲ ▼ ≈: better, worse, or as good as it (within {100 * margin:g} points, two one-sided "
        f"tests), Holm-corrected over {number}, with {stats.MARK_SEEDS} seeds or more; no mark: not told apart. "
        f"Counts in brackets are at a false discovery rate of {100 * stats.ALPHA:g} % (Benjamini-Hochberg): a few of "
        "them may be false."
    )


def markdown(
    section: Section,
    controls: Sequence[str],
    kind: Kind = "estimator",
    family: Family = "board",
    margin: float = MARGIN,
) -> str:
    """A table for each selector (or estimator), and what it says in words."""
    found = fields(section, controls, kind, family, margin)
    if not found:
        raise ZobenchError(f"nothing to compare: there are no two {kind}s with the same other half")
    parts = [f"{_how(found, family, margin)} Tasks: {', '.join(section.scored)}."]
    for field in found:
        parts += [f"## {field.shared}", _table(field, section, controls)]
        parts += [text.bullets(said)] if (said := _said(field, controls, alone=len(found) == 1)) else []
    if len(found) > 1:
        parts += ["## In all", text.bullets(_in_all(found, controls))]
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
    ranged = without_one(one.compared)
    left_out = "" if ranged == text.NONE else f" ({ranged})"
    return f"{points(one.compared)}{left_out}{MARKS[one.verdict]}"


def _rivals(field: Field) -> dict[str, dict[str, Against]]:
    """By the name of each row that is no reference what it is to the controls, by theirs."""
    return {
        s.name: {named(a.control, field.kind): a for a in s.against} for s in field.standings if not s.row.reference
    }


def _said(field: Field, controls: Sequence[str], *, alone: bool) -> list[str]:
    """Who is better than each control; and of those that beat the first, from whom the others take it.

    Of a single rival nothing, but where the field stands `alone`: its row says it.
    """
    told = _rivals(field)
    lines = []
    for control in controls:
        found = {name: against[control] for name, against in told.items() if control in against}
        lines += [_summary(control, found)] if len(found) > (0 if alone else 1) else []
    first, rest = controls[0], controls[1:]
    for name, against in told.items():
        lost = [control for control in rest if control in against and against[control].verdict != BETTER]
        if first in against and against[first].verdict == BETTER and lost and name not in rest:
            lines.append(f"{name} is better than {first}, but not told apart from, or worse than, {', '.join(lost)}.")
    return lines


def _in_all(found: Sequence[Field], controls: Sequence[str]) -> list[str]:
    """The same over all fields of the page."""
    lines = []
    for control in controls:
        every = {
            f"{name} ({field.shared})" if field.kind == "estimator" or len(_rivals(field)) > 2 else field.shared: a
            for field in found
            for name, against in _rivals(field).items()
            for which, a in against.items()
            if which == control
        }
        lines += [_summary(control, every)] if every else []
    return lines


def _summary(control: str, found: Mapping[str, Against]) -> str:
    tested = {name: one for name, one in found.items() if one.verdict != UNTESTED}
    if not tested:
        return f"Nobody can be compared with {control}: {stats.MARK_SEEDS} seeds of both are needed."
    better, worse, equal = (
        ", ".join(name for name, one in tested.items() if one.verdict == which) or "none"
        for which in (BETTER, WORSE, EQUAL)
    )
    apart = sum(one.verdict == SAME for one in tested.values())
    above = sum(one.compared is not None and one.compared.mean > 1e-9 for one in tested.values())
    counts = [sum(one.counted == which for one in tested.values()) for which in (BETTER, WORSE)]
    return (
        f"Better than {control}: {better}. Worse: {worse}. As good as it: {equal}. Not told apart: {apart} of "
        f"{len(tested)}. (At a false discovery rate of {100 * stats.ALPHA:g} %: {counts[0]} better, {counts[1]} worse; "
        f"{above} have the higher average.)"
    )


def facts(found: Sequence[Field], section: Section) -> list[dict[str, Any]]:
    """For programs: each field with its methods, best first, and what they are to the controls."""
    return [
        {
            "shared": field.shared,
            "methods": [
                {
                    **facts_of.row(standing.row, section.scored),
                    "against": [
                        {
                            "control": named(one.control, field.kind),
                            "difference": facts_of.effect(one.compared),
                            "verdict": one.verdict,
                            "counted": one.counted,
                        }
                        for one in standing.against
                    ],
                }
                for standing in field.standings
            ],
            "no_average": list(field.partial),
        }
        for field in found
    ]
