"""The tasks' data as a data source of zobench."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from zobench import DataSource

from .cards import CARDS
from .tasks import TASKS, task_data


class EmbeddedData(DataSource):
    """Eleven small synthetic tasks, made for the embedded model."""

    nature: ClassVar[str] = "synthetic"
    about: ClassVar[str] = (
        "small tasks made for the embedded model, with no bearing on the data sets whose names they bear"
    )

    def tasks(self) -> Collection[str]:
        """All eleven."""
        return TASKS

    def items(self, task: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]], Mapping[str, Any]]:
        """The training and validation pools, the same at every call, and the version of their makers."""
        return task_data(task)

    def describe(self, task: str) -> Mapping[str, str]:
        """The task's card: the skill that it asks for, where the model's text teaches it, a shortcut that fails."""
        return CARDS[task]._asdict()
