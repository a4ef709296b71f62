"""A cell: one model x task x estimator x selector x settings x seed, with an identity that its record keeps."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ..report.record import NO_SELECTOR, CellKey
from .protocol import Computation, Protocol

LONGEST = 60
"""Characters of a name in an id, and so in the names of files, which systems bound: a sum may have many terms."""


_OF_A_FILE = re.compile(r"[^\w.,+=-]", re.ASCII)
"""What no file is called, or not everywhere: a value after a colon may be any text."""


@dataclass(frozen=True)
class Cell:
    """What to run. Everything that changes a number is here, so that equal ids mean equal results."""

    model: str
    model_revision: str | None
    task: str
    task_version: int
    data: str  # hub | folder | embedded
    data_revision: str | None
    estimator: str
    selector: str
    seed: int
    lrs: tuple[float, ...]
    protocol: Protocol
    computation: Computation
    estimator_settings: dict[str, Any] = field(default_factory=dict)
    selector_settings: dict[str, Any] = field(default_factory=dict)

    def key(self) -> CellKey:
        """As it stands in a record, under `cell`."""
        return {
            "model": self.model,
            "model_revision": self.model_revision,
            "task": self.task,
            "task_version": self.task_version,
            "data": self.data,
            "data_revision": self.data_revision,
            "estimator": self.estimator,
            "selector": self.selector,
            "estimator_settings": _plain(self.estimator_settings),
            "selector_settings": _plain(self.selector_settings),
            "run_settings": self.computation.record(),
            "lrs": list(self.lrs),
            "seed": self.seed,
        }

    @property
    def id(self) -> str:
        """`task-estimator-selector-s<seed>-<hash>`: readable, and a hash of the key and the protocol."""
        text = json.dumps({"cell": self.key(), "protocol": self.protocol.record()}, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        selector = "none" if self.selector == NO_SELECTOR else self.selector.replace(":", "=")
        names = "-".join(_OF_A_FILE.sub("_", name)[:LONGEST] for name in (self.task, self.estimator, selector))
        return f"{names}-s{self.seed}-{digest}"

    def __str__(self) -> str:
        return f"{self.task} {self.estimator} {self.selector} seed {self.seed}"


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
