"""What a board shows: sections (model and data), their rows (a method), and averages over tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import stats
from .entry import Entry
from .known import NOTHING, KnownNames
from .record import NO_SELECTOR, Record
from .stats import Effect


@dataclass(frozen=True)
class MethodRow:
    """One method: an estimator with a selector and all their settings, over tasks and seeds."""

    records: tuple[Record, ...]
    estimator: str
    selector: str
    method: str  # the estimator, with the settings that tell it from others of the section
    where: str  # the selector, likewise
    reference: bool
    """Whether it is shown for orientation: above the others, and no rival for the bold type."""
    entries: Mapping[str, Entry]

    @property
    def trains(self) -> bool:
        """Whether it trains: what does not is the same at every seed."""
        return self.selector != NO_SELECTOR

    @property
    def untouched(self) -> bool:
        """Whether it is the row of the untouched model, scored by the protocol alone: what gains are over."""
        return any(record.get("stands") == "untouched" for record in self.records)

    @property
    def control(self) -> bool:
        """Whether it is what rivals are held against."""
        return any(record.get("stands") == "control" for record in self.records)

    @property
    def name(self) -> str:
        """For sentences: `mezo / layer (index=1)`."""
        return f"{self.method} / {self.where}" if self.trains else self.method

    def entry(self, task: str) -> Entry:
        """The entry of a task; one without records where the method was not run on it."""
        return self.entries.get(task, Entry({}))

    def complete_on(self, tasks: Iterable[str]) -> bool:
        """Whether all the tasks were run without a failed or missing seed, so that there is an average."""
        return all(self.entry(task).complete for task in tasks)

    def effect(self, tasks: Sequence[str]) -> Effect | None:
        """The average of test over the tasks, with its uncertainty; None where there is none."""
        found = [self.entry(task).effect for task in tasks] if tasks and self.complete_on(tasks) else []
        known = [one for one in found if one is not None]
        return stats.combine(known) if known and len(known) == len(found) else None

    def gain(self, tasks: Sequence[str]) -> Effect | None:
        """The average gain over the untouched model."""
        found = [self.entry(task).gain for task in tasks] if tasks and self.complete_on(tasks) else []
        known = [one for one in found if one is not None]
        return stats.combine(known) if known and len(known) == len(found) else None

    def minus(self, other: MethodRow, tasks: Sequence[str]) -> Effect | None:
        """The difference from another method on the average over the tasks; None where some task cannot be paired."""
        found = [self.entry(task).minus(other.entry(task)) for task in tasks]
        known = [one for one in found if one is not None]
        return stats.combine(known) if known and len(known) == len(found) else None


@dataclass(frozen=True)
class Section:
    """What stands in one set of tables: one model, one source of data, one protocol."""

    model: str
    revision: str | None
    data: str
    protocol: Mapping[str, Any]
    tasks: tuple[str, ...]
    rows: tuple[MethodRow, ...]  # references first, then by average
    distinct: Mapping[str, Any] = field(default_factory=dict)  # what tells it from its neighbours
    tuning: tuple[Record, ...] = ()  # of seeds that chose learning rates, and are not reported
    metric: str | None = None  # of all its tasks, where it is no fraction
    known: KnownNames = NOTHING
    """Of names: to say what a further run would be."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All its records, in a fixed order."""
        return tuple(r for row in self.rows for r in row.records)

    @property
    def scored(self) -> tuple[str, ...]:
        """The tasks that some method finished: those of the average."""
        return tuple(t for t in self.tasks if any(row.entry(t).done for row in self.rows))

    @property
    def rivals(self) -> tuple[MethodRow, ...]:
        """The rows that are no references."""
        return tuple(row for row in self.rows if not row.reference)


def average(row: MethodRow, tasks: Sequence[str]) -> float | None:
    """The mean over tasks of the mean over seeds; None unless the row is complete on all of them."""
    if not tasks or not row.complete_on(tasks):
        return None
    return stats.mean([m for task in tasks if (m := row.entry(task).mean()) is not None])
