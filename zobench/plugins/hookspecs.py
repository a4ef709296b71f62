"""The contract with plugins: every hook, typed and documented. docs/plugins.md has an example for each.

A plugin is a module (or package) with functions decorated by `zobench.hookimpl`, named like the hooks below, found
by an entry point in the group `zobench` or given as `--plugin FILE`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pluggy

if TYPE_CHECKING:
    from ..contracts.executor import Executor
    from ..contracts.selector import Selector
    from ..contracts.transform import Transform
    from ..estimator.estimator import Estimator
    from ..estimator.families import Directions
    from ..models.load import LoadedModel
    from ..report.record import Record
    from ..tasks.source import DataSource
    from ..tasks.task import Task
    from .presets import Preset

PROJECT = "zobench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook that has its name (docs/plugins.md)."""

Lazy: TypeAlias = str
"""'module:Name', imported on first use, so that listing plugins imports nothing heavy."""

# ---- registration: called once, when plugins are collected


@hookspec
def zobench_estimators() -> Mapping[str, type[Estimator] | Lazy]:  # type: ignore[empty-body]
    """Estimators by the name a user types: `{"my_zo": "my_package.my_zo:MyZO"}`."""


@hookspec
def zobench_directions() -> Mapping[str, type[Directions] | Lazy]:  # type: ignore[empty-body]
    """Direction families by the name a user types: `{"signs": Signs}`, for `--set directions=signs`."""


@hookspec
def zobench_selectors() -> Mapping[str, type[Selector] | Lazy]:  # type: ignore[empty-body]
    """Selectors by the name a user types: `{"every_other": EveryOther}`."""


@hookspec
def zobench_transforms() -> Mapping[str, type[Transform] | Lazy]:  # type: ignore[empty-body]
    """Changes of what a decoder block puts out, by the name a user types: `--set transform=silence:1:17`."""


@hookspec
def zobench_tasks() -> Mapping[str, Task | Path | Lazy]:  # type: ignore[empty-body]
    """Tasks by the name a user types: a path to a task's TOML file (read on use), or a Task."""


@hookspec
def zobench_models() -> Mapping[str, Callable[..., LoadedModel] | Lazy]:  # type: ignore[empty-body]
    """Models that `--model NAME` loads by name: a function `load(*, dtype, device) -> LoadedModel`."""


@hookspec
def zobench_executors() -> Mapping[str, type[Executor] | Lazy]:  # type: ignore[empty-body]
    """Ways to run cells (`--executor NAME`): a class with `run(cells, run_cell)`."""


@hookspec
def zobench_data_sources() -> Mapping[str, type[DataSource] | Lazy]:  # type: ignore[empty-body]
    """Data of tasks that come with a plugin, by the name that a model's `LoadedModel.data` says."""


@hookspec
def zobench_presets() -> Mapping[str, Preset | Lazy]:  # type: ignore[empty-body]
    """Sizes and steps of a run by name (`--preset NAME`), and the models whose runs take them if none is named."""


# ---- what is known of names, whoever registered them: several plugins may say something of one name


@hookspec
def zobench_rates() -> Mapping[str, Path]:  # type: ignore[empty-body]
    """Learning rates that were tuned, by preset: the path of a JSON file that `python -m zobench.run.rates` writes."""


@hookspec
def zobench_model_settings() -> Mapping[str, Mapping[str, object]]:  # type: ignore[empty-body]
    """Settings for the scale of a model, by its name, under every preset: `{"lab-1b": {"first_outlier.ratio": 50}}`."""


@hookspec
def zobench_revisions() -> Mapping[str, str]:  # type: ignore[empty-body]
    """Pinned commits of models on the hub, by id: what `--model ID` loads."""


@hookspec
def zobench_roles() -> Mapping[str, Sequence[str]]:  # type: ignore[empty-body]
    """Names by the parts that they play in runs and on boards: `{"reference": ["my_upper_bound"]}`."""


# ---- observation: called while cells run; what they return is ignored, what they raise is reported and skipped


@hookspec
def zobench_run_start(cells: list[dict[str, Any]]) -> None:
    """A run begins; `cells` are the cells that will be run, as they will stand in their records."""


@hookspec
def zobench_step(cell: dict[str, Any], step: int, lr: float, loss: float) -> None:
    """A training step was logged: `loss` is the first loss it looked at (a perturbed one for most estimators)."""


@hookspec
def zobench_eval(cell: dict[str, Any], step: int, lr: float, dev_loss: float) -> None:
    """The dev loss was evaluated after `step` steps, at the weights as they stand."""


@hookspec
def zobench_run_end(records: list[Record]) -> None:
    """A run is over; `records` are those of its cells, finished or failed."""


# ---- reporting


@hookspec
def zobench_leaderboard_columns() -> Mapping[str, Callable[[list[Record]], str]]:  # type: ignore[empty-body]
    """Further columns of the board: heading -> function of a row's records (all tasks and seeds) to its text."""
