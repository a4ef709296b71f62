"""Where what a command found goes beside the screen: its page, its numbers, its picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import check_outputs, write_file


@dataclass(frozen=True)
class WrittenOptions:
    """The options that say so, of every command of `zobench analyze`, and of `bench`."""

    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.", metavar="FILE")] = None
    out: Annotated[Path | None, typer.Option(help="Write what is printed here, too.", metavar="FILE")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw it here: .png, .pdf or .svg.", metavar="FILE")] = None

    def check(self) -> None:
        """ZobenchError for a file that cannot be written, or drawn: asked before the work."""
        check_outputs(json=self.json_file, out=self.out, plot=self.plot)

    def end(self, page: str, facts: Mapping[str, Any], draw: Callable[[Path], bytes]) -> None:
        """Print the page; write it and the numbers, and draw the picture, where they were asked for."""
        from ..report.plain import finite

        print(page, end="")
        if self.out is not None:
            write_file(self.out, page.encode())
        if self.json_file is not None:
            made = json.dumps(finite(facts), indent=1, ensure_ascii=False, allow_nan=False)
            write_file(self.json_file, made.encode() + b"\n")
        if self.plot is not None:
            write_file(self.plot, draw(self.plot))
