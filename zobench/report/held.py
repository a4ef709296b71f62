"""Rows of a board held against one of them, task by task and on average: tables and verdicts of controls. Light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import facts as facts_of
from . import stats, text
from .rows import MethodRow, Section, average
from .stats import Effect
from .tables import MARKS, plus_minus, points


@dataclass(frozen=True)
class HeldRows:
    """Some rows, and the one that all others of them are held against."""

    title: str
    rows: tuple[MethodRow, ...]
    against: MethodRow


HOW = (
    "Test, in percent, ± half of the 95 % interval over seeds and test items (¹: one seed, over test items alone). "
    "Difference: of the average, paired over seeds and items, to the row in *italics*, in points; ▲ ▼: better or worse "
    "beyond chance, Holm-corrected over all {} comparisons of this page, with {} seeds or more."
)


def effects(groups: Sequence[HeldRows], section: Section) -> dict[tuple[int, int], Effect | None]:
    """The paired difference of each row to that of its group, by the places of both."""
    return {
        (at, k): row.minus(group.against, section.scored)
        for at, group in enumerate(groups)
        for k, row in enumerate(group.rows)
        if row is not group.against
    }


def markdown(groups: Sequence[HeldRows], section: Section) -> str:
    """A table a group."""
    compared = effects(groups, section)
    told = stats.verdicts(compared)
    parts = [HOW.format(len(stats.corrected(compared)), stats.MARK_SEEDS)]
    for at, group in enumerate(groups):
        body = []
        for k, row in enumerate(group.rows):
            own = row is group.against
            effect = compared.get((at, k))
            shown = [_score(row, task) for task in section.scored]
            mean, whole = average(row, section.scored), row.effect(section.scored)
            shown.append(text.NONE if mean is None else f"{text.percent(mean)}{plus_minus(whole)}")
            difference = text.NONE if effect is None else f"{points(effect)}{MARKS.get(told[at, k], '')}"
            body.append([f"*{row.name}*" if own else row.name, *shown, "" if own else difference])
        parts.append(
            f"## {group.title}\n\n{text.table(['method', *section.scored, 'average', 'difference'], body, left=1)}"
        )
    return "\n\n".join(parts) + "\n"


def _score(row: MethodRow, task: str) -> str:
    entry = row.entry(task)
    mean = entry.mean()
    return text.NONE if mean is None else f"{text.percent(mean)}{plus_minus(entry.effect)}"


def facts(groups: Sequence[HeldRows], section: Section) -> list[dict[str, Any]]:
    """For programs: the rows of each group, with the difference to the one that they are held against."""
    compared = effects(groups, section)
    told = stats.verdicts(compared)
    return [
        {
            "title": group.title,
            "against": group.against.name,
            "rows": [
                {
                    **facts_of.row(row, section.scored),
                    "difference": facts_of.effect(compared.get((at, k))),
                    "verdict": told.get((at, k)),
                }
                for k, row in enumerate(group.rows)
            ],
        }
        for at, group in enumerate(groups)
    ]
