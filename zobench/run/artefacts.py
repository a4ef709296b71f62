"""The files beside a record: the curve of each training run, the replay log or the weights it led to, a traceback."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from safetensors.torch import save_file

from .. import redact
from ..estimator.log import Log, LogWriter, StepLog, load_log
from ..report import swap
from ..report.plain import finite
from ..scopes.scope import Scope
from .checksum import checksums
from .computed import engine_info
from .environment import device_facts

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocol.cell import Cell
    from ..report.record import Record
    from .method import Applied
    from .train import Trained


MASK = "mask of "
"""Before the name of a masked tensor: what its mask is called in a file of weights."""

NO_MASKS: Mapping[str, Tensor] = {}

REPLAY = "replay log"
"""What a record says was kept if a replay log was kept."""


def plain(scope: Scope) -> bool:
    """Whether the scope is fully described by the names of its tensors: no masks, no schedule."""
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
        self._lines: list[str] = []

    def log(self, **line: float | int) -> None:
        """One line of the curve; a number that is not finite is null there."""
        text = json.dumps(finite(line), allow_nan=False) + "\n"
        self._write(text)
        self._lines.append(text)
        if self._steps is not None and "dev_loss" in line:
            self._steps.flush()

    def take_lines(self) -> str:
        """The lines of the curve since the last call."""
        lines, self._lines = self._lines, []
        return "".join(lines)

    def restore(self, lines: str) -> None:
        """Lines of the curve that an earlier process wrote."""
        if lines:
            self._write(lines)

    def _write(self, text: str) -> None:
        if self._steps is None:
            self._steps = self.files.steps.open("w", encoding="utf-8")
        self._steps.write(text)

    def keep_log(self, steps: Sequence[StepLog], facts: Mapping[str, Any]) -> None:
        """Keep the replay log of a checkpoint, in place of what was kept of an earlier run."""
        self.clear()
        with LogWriter(self.files.replay, facts=facts) as writer:
            writer.write(steps)

    def keep_weights(self, weights: Mapping[str, Tensor], limit: int, masks: Mapping[str, Tensor] = NO_MASKS) -> str:
        """Keep the weights of a checkpoint likewise, where they are not over `limit` bytes; says what was kept.

        For a run whose steps saw more than losses, or on a scope that changes, or of parts of tensors. masks: which
        parts, where the weights do not show it.
        """
        self.clear()
        weights = {**weights, **{f"{MASK}{name}": mask for name, mask in masks.items()}}
        size = sum(t.numel() * t.element_size() for t in weights.values())
        if size > limit:
            return f"nothing: {size} bytes of weights are over snapshot_limit={limit}"
        save_file({name: t.contiguous() for name, t in weights.items()}, self.files.weights)
        return "weights"

    def clear(self) -> None:
        """Drop what was kept of the best checkpoint."""
        self.files.replay.unlink(missing_ok=True)
        self.files.weights.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the drafts, if the cell leaves no record or already has one."""
        if self._steps is not None:
            with contextlib.suppress(OSError):  # of lines that the disk has no room for
                self._steps.close()
        for path in self.files.beside:
            with contextlib.suppress(OSError):
                path.unlink()

    def kept_log(self) -> Log:
        """The replay log that was kept last, whole or ZobenchError."""
        return load_log(self.files.replay)

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
