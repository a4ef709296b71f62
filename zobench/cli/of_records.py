"""What commands share that say something of records: where the page and the picture go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .common import check_outputs, write_file

Results = Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack.", metavar="DIR")]


@dataclass(frozen=True)
class PageOptions:
    """The options that say where a page and a picture go beside the screen."""

    out: Annotated[Path | None, typer.Option(help="Write the tables here, too.", metavar="FILE")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw it here: .png, .pdf or .svg.", metavar="FILE")] = None

    def check(self) -> None:
        """ZobenchError for a file that cannot be written, or drawn: asked before the work."""
        check_outputs(out=self.out, plot=self.plot)

    def end(self, page: str, draw: Callable[[Path], bytes]) -> None:
        """Print the page, write it and draw the picture, where they were asked for."""
        print(page, end="")
        if self.out is not None:
            write_file(self.out, page.encode())
        if self.plot is not None:
            write_file(self.plot, draw(self.plot))
