"""The built-in tasks: one TOML file each. They come in by an entry point, like anyone's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zobench import hookimpl, task_files


@hookimpl
def zobench_tasks() -> Mapping[str, Path]:
    """The task files beside this module."""
    return task_files(__name__)
