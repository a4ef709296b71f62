"""`--track`: what a run tells of itself, passed on to tensorboard, trackio or Weights & Biases, by an observer.

A tracker that fails is named once and not called again; cells and records are untouched. Light: libraries are imported
when a run begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ..errors import ZobenchError, library, unknown
from ..plugins.hookspecs import hookimpl
from ..report.text import flat


class TrackedRun(Protocol):
    """One cell at a tracker."""

    def log(self, values: dict[str, float], step: int) -> None:
        """Numbers of a step."""

    def finish(self) -> None:
        """No more will come."""


def _needed(module: str) -> Any:
    """A tracker's library, which is an extra of its name."""
    return library(module, f"--track {module}", install=f"'zobench[{module}]'")


class TensorBoard:
    """Event files under DIR/tensorboard/<cell>."""

    def __init__(self, results: Path, name: str, config: Mapping[str, Any]) -> None:
        _needed("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(results / "tensorboard" / name))
        self._writer.add_text("config", "\n".join(f"- {key}: {value}" for key, value in config.items()))

    def log(self, values: dict[str, float], step: int) -> None:
        """Scalars."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def finish(self) -> None:
        """Write what is held, and close."""
        self._writer.close()


def _of_module(module: str, **options: Any) -> Callable[[Path, str, Mapping[str, Any]], TrackedRun]:
    """Trackers with wandb's interface: a project is a results folder, a run a cell."""

    def begin(results: Path, name: str, config: Mapping[str, Any]) -> TrackedRun:
        tracker = _needed(module)
        run: TrackedRun = tracker.init(project=results.resolve().name, name=name, config=dict(config), **options)
        return run

    return begin


TRACKERS: Mapping[str, Callable[[Path, str, Mapping[str, Any]], TrackedRun]] = {
    "tensorboard": TensorBoard,
    "trackio": _of_module("trackio", embed=False),
    "wandb": _of_module("wandb", reinit="create_new"),
}


class Tracking:
    """The observer: a run of the tracker a cell, begun when the cell is first heard of."""

    def __init__(self, tracker: str, results: Path) -> None:
        if tracker not in TRACKERS:
            raise ZobenchError(unknown("tracker", tracker, TRACKERS))
        self._begin, self._results = TRACKERS[tracker], results
        self._runs: dict[str, TrackedRun] = {}
        self._last: dict[str, int] = {}

    @hookimpl
    def zobench_step(self, cell: dict[str, Any], step: int, lr: float, loss: float) -> None:
        """The training loss, a curve a learning rate."""
        self._log(cell, {f"loss/lr={lr:g}": loss}, step)

    @hookimpl
    def zobench_eval(self, cell: dict[str, Any], step: int, lr: float, dev_loss: float) -> None:
        """The dev loss, likewise."""
        self._log(cell, {f"dev_loss/lr={lr:g}": dev_loss}, step)

    @hookimpl
    def zobench_run_end(self, records: list[Any]) -> None:
        """The final numbers of every cell, and the end of its run."""
        for record in records:
            self._log(record["cell"], final(record), self._last.get(cell_name(record["cell"]), 0))
        for run in self._runs.values():
            run.finish()
        self._runs.clear()

    def _log(self, cell: Mapping[str, Any], values: dict[str, float], step: int) -> None:
        name = cell_name(cell)
        if name not in self._runs:
            config = {key: value for key, value in flat(cell).items() if value is not None}
            self._runs[name] = self._begin(self._results, name, config)
        # Learning rates follow each other, each from step 1; trackers want steps that do not go back.
        self._last[name] = max(step, self._last.get(name, 0))
        self._runs[name].log(values, step)


def cell_name(cell: Mapping[str, Any]) -> str:
    """`sst2-mezo-all-s0`: the run of a cell, as a tracker's list shows it; the characters of file names."""
    words = (cell["task"], cell["estimator"], cell["selector"], f"s{cell['seed']}")
    return "".join(c if c.isalnum() or c in "-_.+=" else "_" for c in "-".join(words))


def final(record: Mapping[str, Any]) -> dict[str, float]:
    """What a tracker is told of a record: scores, the chosen rate, times, memory."""
    out: dict[str, float] = {"ok": float(record["status"] == "ok")}
    for name in ("zero_shot", "dev", "test"):
        if name in record["metrics"]:
            out[f"final/{name}"] = record["metrics"][name]["value"]
    if "chosen" in record:
        out |= {"final/lr": record["chosen"]["lr"], "final/step": float(record["chosen"]["step"])}
    if record["time"].get("step_s") is not None:
        out["final/step_s"] = record["time"]["step_s"]
    if record["memory"].get("peak_bytes") is not None:
        out["final/peak_bytes"] = float(record["memory"]["peak_bytes"])
    if "speed" in record:
        out["final/speedup"] = record["speed"]["ratio"]
    return out
