"""The methods of a board by what they take: memory or time, the least first. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from . import costs, memory, text
from .rows import MethodRow, Section, average

Order = Literal["average", "memory", "time"]

MOST_NAMES = 4
"""Methods that a sentence names."""

_PRICES: Mapping[Order, Callable[[MethodRow, Section], float | None]] = {
    "memory": lambda row, section: memory.peak(row),
    "time": lambda row, section: costs.mean_time(row, section.tasks, "step_s"),
}
_SHOWN: Mapping[Order, Callable[[float], str]] = {
    "memory": text.size,
    "time": lambda seconds: f"{text.milliseconds(seconds)} ms a step",
}
SORTED: Mapping[Order, str] = {
    "average": "above the methods, which are sorted by average",
    "memory": "and all are sorted by peak memory, the least first",
    "time": "and all are sorted by the time of a step, the least first",
}


def ordered(section: Section, by: Order) -> Section:
    """The section with its methods by their price, the untouched model above; what has no price is last."""
    if by == "average":
        return section

    def place(row: MethodRow) -> tuple[bool, bool, float, float, str]:
        price, score = _PRICES[by](row, section), average(row, section.scored)
        return (not row.untouched, price is None, price or 0.0, -(score or 0.0), row.name)

    return replace(section, rows=tuple(sorted(section.rows, key=place)))


def said(section: Section, by: Order) -> list[str]:
    """Which of the methods, references apart, score higher than all that take less; empty for the usual order."""
    if by == "average":
        return []
    front, best = [], -1.0
    for row in ordered(section, by).rivals:
        price, score = _PRICES[by](row, section), average(row, section.scored)
        if row.trains and price is not None and score is not None and round(score, 9) > best:
            front.append(f"{row.name} {_SHOWN[by](price)} ({text.percent(score)})")
            best = round(score, 9)
    if not front:
        return []
    what = "memory" if by == "memory" else "time"
    if len(front) == 1:
        return [f"No method takes less {what} or scores higher than {front[0]}."]
    named = front if len(front) <= MOST_NAMES else [*front[: MOST_NAMES - 1], front[-1]]
    gap = "" if len(front) <= MOST_NAMES else f"{len(front) - MOST_NAMES} more, "
    return [f"Least {what} first, each higher than all that take less: {', '.join(named[:-1])}, {gap}{named[-1]}."]
