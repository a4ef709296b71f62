"""The contract of executors: how the cells of a run are spread over processes or machines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.record import Record


class RunCell(Protocol):
    """Runs cells in the process that it is called in. It can be pickled, and so can cells.

    The first call in a process loads the model; model, data and the task in hand are kept for the calls that follow.
    """

    @property
    def device(self) -> str:
        """Where the cells shall run, as the user said it: auto, cpu, cuda, cuda:1."""

    @property
    def weights_bytes(self) -> int:
        """Bytes of the model's weights: what each process that runs cells takes at least."""

    @property
    def timeout(self) -> float:
        """Seconds that a cell may take, 0: as long as it takes. The process of one that hangs is ended with it."""

    @property
    def results(self) -> Path:
        """The folder of the records, absolute: every process that runs cells must reach it."""

    def work(self, cell: Cell) -> float:
        """About how much work a cell is, beside others of the run: those that take long are best begun first."""

    def load(self) -> None:
        """Load the model into this process now; else the first call does. Raises as a call."""

    def __call__(self, cell: Cell) -> Record:
        """The record of the cell, which is written by then; a cell that fails has one too.

        Raises ZobenchError where no cell could run in this process.
        """

    def lost(self, cell: Cell, why: str, *, again: bool = True) -> Record:
        """The record of a cell whose process ended without returning one: what it wrote, else one that says `why`.

        again: it may be the machine's fault, and the same command shall run the cell again.
        """

    def written(self, cell: Cell) -> Record | None:
        """The record that some process has written of the cell in this run; None: there is none yet."""


class Executor(Protocol):
    """Runs cells; the order of the records that come back is free.

    It is made without arguments. Its annotated attributes are settings (`--set NAME.key=value`, as those of an
    estimator); one that is called `jobs` is also what `--jobs` sets. If it has a method `begin()`, it is called before
    cells are planned, to start what takes long. If it has `prepare(cells, run_cell)`, that is called before anything is
    said or written; what it raises then is all that happens. `needs: ClassVar = ("ray", "zobench[ray]")`, the module
    that it imports and what pip is told, is what `zobench doctor` looks for.
    """

    def run(self, cells: Sequence[Cell], run_cell: RunCell) -> Iterator[Record]:
        """Yield one record for each cell as it finishes; a failed cell yields its record too."""
