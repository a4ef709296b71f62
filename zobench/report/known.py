"""What records say of their cell's part on a board; early records leave it to be known by name. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .record import Record, Stands


@dataclass(frozen=True)
class KnownNames:
    """What is known of names, from what plugins declare."""

    stands: Mapping[str, Stands] = field(default_factory=dict)
    """Of estimators that are no rivals on a board."""
    baseline: tuple[str, ...] = ()
    """Estimators that others are held against."""
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of data sources: `nature` and `about`, as in records."""
    everything: tuple[str, ...] = ()
    """Selectors of all weights."""
    one_block: tuple[str, ...] = ()
    """Selectors of the decoder block that stands after a colon."""
    outlier_block: tuple[str, ...] = ()
    """Selectors of the block with the activation outlier."""
    whole_blocks: tuple[str, ...] = ()
    """Selectors of one whole decoder block, chosen in another way."""

    def of(self, estimator: str, selector: str) -> Stands | None:
        """The part that a cell of these plays on a board."""
        if estimator in self.baseline and selector in self.everything:
            return "control"
        return self.stands.get(estimator)


NOTHING = KnownNames()
"""No plugin said anything."""


def filled(records: Iterable[Record], known: KnownNames) -> list[Record]:
    """The records, with what early ones leave unsaid. What a record says itself stands."""
    return [_filled(record, known) for record in records]


def _filled(record: Record, known: KnownNames) -> Record:
    cell, more = record["cell"], dict[str, Any]()
    stands = known.of(cell["estimator"], cell["selector"])
    if "stands" not in record and stands is not None:
        more["stands"] = stands
    data = record.get("data", {})
    if "source" not in data and cell["data"] in known.sources:
        more["data"] = {**data, "source": dict(known.sources[cell["data"]])}
    return cast(Record, {**record, **more}) if more else record
