"""One cell after the other, in this process: the model is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zobench import Cell, Record


class Local:
    """The cells in their order."""

    def run(self, cells: Sequence[Cell], run_cell: Callable[[Cell], Record]) -> Iterator[Record]:
        """Yield each cell's record as it is done."""
        for cell in cells:
            yield run_cell(cell)
