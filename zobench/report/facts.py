"""What pages say, for programs: the same numbers unrounded, scores as fractions, None where one is not known. Light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .entry import Entry
from .rows import MethodRow, Section, average
from .stats import Effect


def effect(one: Effect | None, mean: float | None = None) -> dict[str, Any] | None:
    """A mean, half of its 95 % interval, and the seeds it is over. mean: where it is known without an uncertainty."""
    if one is None and mean is None:
        return None
    return {
        "mean": one.mean if mean is None and one is not None else mean,
        "half": None if one is None else one.half(),
        "seeds": 0 if one is None else one.seeds,
    }


def entry(one: Entry) -> dict[str, Any] | None:
    """The test score of a method on a task."""
    return effect(one.effect, one.mean()) if one.done else None


def row(one: MethodRow, tasks: Sequence[str]) -> dict[str, Any]:
    """The names of a method, and its test scores by task and on their average."""
    return {
        "estimator": one.method,
        "selector": one.where,
        "reference": one.reference,
        "tasks": {task: entry(one.entry(task)) for task in tasks},
        "average": effect(one.effect(tasks), average(one, tasks)),
    }


def section(one: Section) -> dict[str, Any]:
    """What the numbers are of."""
    return {"model": one.model, "revision": one.revision, "data": one.data, "tasks": list(one.scored)}
