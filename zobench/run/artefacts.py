"""The files beside a record: the curve of each training run, the replay log or the weights it led to, a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors.torch import save_file

from .. import redact
from ..estimator.log import LogWriter
from ..report import swap
from ..report.plain import finite
from ..scopes.scope import Scope
from .checksum import checksums
from .computed import engine_info
from .environment import device_facts

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.record import Record
    from .method import Applied
    from .train import Trained


def plain(scope: Scope) -> bool:
    """Whether the names of its tensors are all that there is to this scope: no masks, no schedule."""
    return type(scope) is Scope and scope.numel() == sum(p.numel() for _, p in scope.named)


def log_facts(on: Applied, run: Trained, cell: Cell) -> dict[str, Any]:
    """What a replay log says of its run: what computed it, and a checksum of each tensor that it must lead to."""
    return {
        "cell": cell.id,
        "lr": run.lr,
        "seed": cell.seed,
        "engine": engine_info(on.info, on.drawn),
        **device_facts(on.estimator.handles[0].param.device),
        "weights": checksums(run.best.items()),
    }


class Artefacts:
    """The side files of one cell (see zobench.report.store.Files): drafts, until its record is put beside them."""

    def __init__(self, results: Path, cell_id: str) -> None:
        self.results = results
        self.files = swap.drafts(results, cell_id)
        self.files.record.parent.mkdir(parents=True, exist_ok=True)
        self._steps: IO[str] | None = None

    def log(self, **line: float | int) -> None:
        """One line of the curve; a number that is not finite is null there."""
        if self._steps is None:
            self._steps = self.files.steps.open("w", encoding="utf-8")
        self._steps.write(json.dumps(finite(line), allow_nan=False) + "\n")
        if "dev_loss" in line:
            self._steps.flush()

    def keep_run(self, on: Applied, selected: Scope, run: Trained, cell: Cell) -> str:
        """Keep what rebuilds this run's checkpoint, in place of an earlier run's; says what was kept.

        A run whose steps saw only losses, on a scope of whole tensors that stays the same, keeps its replay log up to
        the checkpoint. Another keeps the scope's weights, where they are not over `snapshot_limit` bytes.
        """
        self.files.replay.unlink(missing_ok=True)
        self.files.weights.unlink(missing_ok=True)
        log = on.estimator.log[: run.best_step]
        if not any(step.wide for step in log) and plain(selected):
            with LogWriter(self.files.replay, facts=log_facts(on, run, cell)) as writer:
                writer.write(log)
            return "replay log"
        size = sum(t.numel() * t.element_size() for t in run.best.values())
        if size > cell.computation.snapshot_limit:
            return f"nothing: {size} bytes of weights are over snapshot_limit={cell.computation.snapshot_limit}"
        save_file({name: t.contiguous() for name, t in run.best.items()}, self.files.weights)
        return "weights"

    def put(self, record: Record, traceback: str | None) -> bool:
        """Close the curve, keep the traceback of a failure, and put all in place, the record last.

        False where the record of before is better, and stays (see zobench.report.swap). Raises as `swap.put`.
        """
        if self._steps is not None:
            self._steps.close()
        if traceback is not None:
            text = f"status: {record['status']}\n{redact.text(traceback)}"
            self.files.error.write_text(text, encoding="utf-8", errors="backslashreplace")
        return swap.put(self.results, record, self.files)
