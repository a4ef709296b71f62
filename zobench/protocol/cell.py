"""A cell: one model x task x estimator x selector x settings x seed, with an identity that its record keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from .. import redact
from ..report.identity import cell_id
from ..report.record import CellKey, RoleInfo
from .protocol import Computation, Protocol

NUMERICS = 1
"""Raised by one with every change of zobench itself that changes a number of some cell: cells then are others.

A change of one built-in method alone raises that class's own `numerics` instead, and leaves the cells of others as they
are. What stands in a record is the sum of what was ever raised for its cell, from 1 on.
"""


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
    code: dict[str, str] = field(default_factory=dict)  # plugin -> digest: of third parties
    raised: int = 0  # by how much its estimator and its selector have raised their own `numerics`
    role: RoleInfo | None = field(default=None, compare=False)
    """What the seed is for. No part of the identity: the numbers are the same."""

    before: str | None = field(default=None, compare=False)
    """What tells the record that it had when it was planned from a later one; empty: it had none. None: not said."""

    def key(self) -> CellKey:
        """As it stands in a record, under `cell`: a setting that is a secret is in no identity either."""
        key: CellKey = {
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
        if self.code:
            key["code"] = dict(self.code)
        if NUMERICS + self.raised > 1:
            key["numerics"] = NUMERICS + self.raised
        return cast(CellKey, redact.clean(key))

    @cached_property
    def id(self) -> str:
        """`task-estimator-selector-s<seed>-<hash>`: readable, and a hash of the key and the protocol."""
        return cell_id(self.key(), self.protocol.record())

    def __str__(self) -> str:
        return f"{self.task} {self.estimator} {self.selector} seed {self.seed}"


def raised(cls: Any, settings: Mapping[str, Any]) -> int:
    """By how much a class has raised its own numerics, as far as that concerns a cell of these settings."""
    family = getattr(cls, "family", None)  # of an estimator along directions of a family
    if family is not None:
        own = {name.removeprefix("directions."): value for name, value in settings.items()}
        return raised(cls.__base__, settings) + raised(family, own)
    where: Mapping[str, Any] = getattr(cls, "numerics_where", {})
    return (
        int(getattr(cls, "numerics", 1)) - 1 if all(settings.get(name) == value for name, value in where.items()) else 0
    )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
