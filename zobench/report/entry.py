"""One method on one task: its records by draw (data split and seed), and what they say together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from . import stats
from .record import NO_SELECTOR, Record, ScoreInfo, Status
from .stats import Draw, Effect


def draw_of(record: Record) -> Draw:
    """The draw that a record is of."""
    return Draw(int(record["protocol"].get("data_seed", 0)), record["cell"]["seed"])


@dataclass(frozen=True)
class Entry:
    """One method on one task: its records by draw.

    `expected` are the draws that the other methods of the board have; one that is missing counts as a failure.
    """

    records: Mapping[Draw, Record]
    expected: frozenset[Draw] = frozenset()

    @cached_property
    def trains(self) -> bool:
        """Whether it trains: what does not is the same at every seed."""
        return any(record["cell"]["selector"] != NO_SELECTOR for record in self.records.values())

    @cached_property
    def done(self) -> dict[Draw, Record]:
        """The records that are ok, by draw."""
        return {draw: r for draw, r in sorted(self.records.items()) if r["status"] == "ok"}

    @cached_property
    def failed(self) -> Counter[Status]:
        """Number of failures by status."""
        return Counter(r["status"] for _, r in sorted(self.records.items()) if r["status"] != "ok")

    @cached_property
    def missing(self) -> tuple[Draw, ...]:
        """The draws that others have and this has not."""
        return tuple(sorted(self.expected - set(self.records))) if self.records and self.trains else ()

    @property
    def complete(self) -> bool:
        """Whether every expected draw is there and ok."""
        return bool(self.records) and not self.failed and not self.missing

    def scores(self, which: str = "test") -> dict[Draw, ScoreInfo]:
        """The scores (`test`, `zero_shot`) by draw, of the records that ended well."""
        return {draw: r["metrics"][which] for draw, r in self.done.items()}  # type: ignore[literal-required]

    def values(self, which: str = "test") -> list[float]:
        """The scores' values, in the draws' order."""
        return [score["value"] for score in self.scores(which).values()]

    def mean(self, which: str = "test") -> float | None:
        """The mean over draws; None where no record ended well."""
        values = self.values(which)
        return stats.mean(values) if values else None

    def stderr(self) -> float:
        """The standard error over items of one seed's test score (the mean over draws)."""
        return stats.mean([score["stderr"] for score in self.scores().values()])

    def items(self, which: str = "test") -> dict[Draw, Sequence[float]]:
        """The items' scores by draw, where the records keep them."""
        return {draw: score["items"] for draw, score in self.scores(which).items() if "items" in score}

    @cached_property
    def clusters(self) -> dict[int, Sequence[int]]:
        """By split the cluster of each test item, where records have them. The test items of a split are the same."""
        return {draw.split: score["clusters"] for draw, score in self.scores().items() if "clusters" in score}

    @cached_property
    def effect(self) -> Effect | None:
        """The test score with its uncertainty over seeds and items; None where it cannot be known (one item)."""
        items = self.items()
        if self.done and len(items) == len(self.done):
            return stats.score(items, self.clusters, fixed=not self.trains)
        if not self.done or len({draw.split for draw in self.done}) > 1:
            return None
        values = {draw.seed: score["value"] for draw, score in self.scores().items()}
        n = min(score["n"] for score in self.scores().values())
        return stats.of_values(values, self.stderr(), n, fixed=not self.trains)

    def minus(self, other: Entry) -> Effect | None:
        """The paired difference from another entry of the task, over items and draws; None if they cannot be paired.

        An entry with a missing or failed draw cannot: the draws that are left are not those that were asked for.
        """
        if not (self.complete and other.complete) or self._clash(other):
            return None
        fixed = (not self.trains, not other.trains)
        return stats.compare(self.items(), other.items(), self.clusters | other.clusters, fixed=fixed)

    def _clash(self, other: Entry) -> bool:
        """Whether records of the two say of the same test items that they are in different clusters."""
        told: dict[int, set[tuple[int, ...]]] = {}
        for entry in (self, other):
            for draw, one in entry.scores().items():
                if "clusters" in one:
                    told.setdefault(draw.split, set()).add(tuple(one["clusters"]))
        return any(len(ways) > 1 for ways in told.values())

    @cached_property
    def gain(self) -> Effect | None:
        """The tuned model against the untouched one, paired; None where the items are not kept."""
        if not self.done:
            return None
        fixed = (not self.trains, not self.trains)
        return stats.compare(self.items(), self.items("zero_shot"), self.clusters, fixed=fixed)
