"""The plugin: what it offers, by name. Every zobench command imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zobench import hookimpl, task_files


@hookimpl
def zobench_estimators() -> Mapping[str, str]:
    return {"greedy": "zobench_example.greedy:Greedy"}


@hookimpl
def zobench_selectors() -> Mapping[str, str]:
    return {"middle": "zobench_example.middle:Middle"}


@hookimpl
def zobench_tasks() -> Mapping[str, Path]:
    return task_files(__name__)
