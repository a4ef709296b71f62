"""The contract of executors: how the cells of a run are spread over processes or machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.record import Record


class Executor(Protocol):
    """Runs cells; the order of the records that come back is free."""

    def run(self, cells: Sequence[Cell], run_cell: Callable[[Cell], Record]) -> Iterator[Record]:
        """Yield one record for each cell as it finishes; a failed cell yields its record too."""
