"""On this machine: one cell after the other in this process, or several at once in processes of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from zobench import Natural

if TYPE_CHECKING:
    from zobench import Cell, Record, RunCell

ROOM = 2**30
"""Bytes that a process takes beside its model, about."""


class Local:
    """The cells in their order. `jobs`: processes at once, 0: one for each GPU that torch calls cuda, one on a GPU of
    another kind, or one for each core of a CPU (`auto`).

    With one they run in this process; with one that is ended where a cell hangs, if cells have a time (`--timeout`).
    With several each has its own copy of the model, its own GPU in turn, and its share of the cores; one that crashes,
    or that the system ends, takes nothing with it but its cell.
    """

    jobs: Natural = 1

    def begin(self) -> None:
        """What processes are made from imports what they need, while the cells are planned."""
        if self.jobs != 1:
            from .processes import start_early

            start_early()

    def prepare(self, cells: Sequence[Cell], run_cell: RunCell) -> None:
        """Load the model before anything is written, where cells run in this process."""
        if self._here(cells, run_cell):
            run_cell.load()

    def run(self, cells: Sequence[Cell], run_cell: RunCell) -> Iterator[Record]:
        """Yield each cell's record as it is done."""
        jobs, gpus = self._at_once(len(cells), run_cell), _gpus(run_cell.device)
        if self._here(cells, run_cell):
            for cell in cells:
                yield run_cell(cell)
            return
        from .processes import Processes

        threads = max(1, cores() // jobs)
        yield from Processes(run_cell, [gpus[i % len(gpus)] if gpus else None for i in range(jobs)], threads).run(cells)

    def _here(self, cells: Sequence[Cell], run_cell: RunCell) -> bool:
        """Whether they run in this process."""
        return self._at_once(len(cells), run_cell) <= 1 and not (run_cell.timeout and cells)

    def _at_once(self, cells: int, run_cell: RunCell) -> int:
        jobs = self.jobs or len(_gpus(run_cell.device)) or (1 if _of_another_kind(run_cell.device) else 0)
        return min(jobs or fitting(run_cell.weights_bytes), cells)


def cores() -> int:
    """Cores of the CPU that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting(weights_bytes: int) -> int:
    """Processes for which there are cores, and memory for the weights, two copies of them and what a process takes."""
    import psutil

    return max(1, min(cores(), int(psutil.virtual_memory().available // (3 * weights_bytes + ROOM))))


def _gpus(device: str) -> list[str]:
    """The names, as CUDA_VISIBLE_DEVICES has them, of the GPUs that `device` may mean; none: cells run on the CPU."""
    if device != "auto" and not device.startswith("cuda"):
        return []
    import torch

    seen = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = seen or [str(i) for i in range(torch.cuda.device_count())]
    names = names[: torch.cuda.device_count()]
    return names if device in ("auto", "cuda") else [names[int(device.partition(":")[2])]]


def _of_another_kind(device: str) -> bool:
    """Whether `device` means a GPU that is none of CUDA: processes cannot be told which of them to see."""
    kind = device.partition(":")[0]
    if kind in ("cpu", "cuda"):
        return False
    import torch

    return kind != "auto" or torch.xpu.is_available() or torch.backends.mps.is_available()
