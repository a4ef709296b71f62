"""The files beside a record: the curve of each training run, the replay log or the weights it led to, a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING

from safetensors.torch import save_file

from ..zo.log import LogWriter
from ..zo.scope import Scope

if TYPE_CHECKING:
    from ..report.record import Status
    from .cell import Cell
    from .method import Applied
    from .train import Trained


def plain(scope: Scope) -> bool:
    """Whether the names of its tensors are all that there is to this scope: no masks, no schedule."""
    return type(scope) is Scope and scope.numel() == sum(p.numel() for _, p in scope.named)


class Artefacts:
    """`<id>.steps.jsonl`, `<id>.replay.bin` or `<id>.weights.safetensors`, `<id>.error.txt` in DIR/cells."""

    def __init__(self, results: Path, cell_id: str) -> None:
        self.folder, self.id = results / "cells", cell_id
        self.folder.mkdir(parents=True, exist_ok=True)
        self._steps: IO[str] | None = None
        for ending in ("steps.jsonl", "replay.bin", "weights.safetensors", "error.txt"):  # of an earlier run
            self._path(ending).unlink(missing_ok=True)

    def _path(self, ending: str) -> Path:
        return self.folder / f"{self.id}.{ending}"

    def log(self, **line: float | int) -> None:
        """One line of the curve."""
        if self._steps is None:
            self._steps = self._path("steps.jsonl").open("w", encoding="utf-8")
        self._steps.write(json.dumps(line) + "\n")

    def keep_run(self, on: Applied, selected: Scope, run: Trained, cell: Cell) -> str:
        """Keep what rebuilds this run's checkpoint, in place of an earlier run's; says what was kept.

        A run whose steps saw only losses, on a scope of whole tensors that stays the same, keeps its replay log up to
        the checkpoint. Another keeps the scope's weights, where they are not over `snapshot_limit` bytes.
        """
        replay, weights = self._path("replay.bin"), self._path("weights.safetensors")
        replay.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
        log = on.estimator.log[: run.best_step]
        if not any(step.wide for step in log) and plain(selected):
            with LogWriter(replay) as writer:
                writer.write(log)
            return "replay log"
        size = sum(t.numel() * t.element_size() for t in run.best.values())
        if size > cell.computation.snapshot_limit:
            return f"nothing: {size} bytes of weights are over snapshot_limit={cell.computation.snapshot_limit}"
        save_file({name: t.contiguous() for name, t in run.best.items()}, weights)
        return "weights"

    def finish(self, status: Status, traceback: str | None) -> None:
        """Close the curve; keep the traceback of a failure."""
        if self._steps is not None:
            self._steps.close()
        if traceback is not None:
            self._path("error.txt").write_text(f"status: {status}\n{traceback}", encoding="utf-8")
