"""`zobench compare`: one method against another, from records. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ZobenchError
from .common import MARGIN_POINTS, MarginOption, check_outputs, print_markdown, section_of, write_file


def compare(
    first: Annotated[str, typer.Argument(help="A method: lozo/all, or its estimator where there is one selector.")],
    second: Annotated[str, typer.Argument(help="What it is held against: mezo/all, zero_shot, ...")],
    results: Annotated[Path, typer.Option(help="A results folder: cells/ or a pack.", metavar="DIR")] = Path("runs"),
    margin: MarginOption = MARGIN_POINTS,
    out: Annotated[Path | None, typer.Option(help="Write it here, too.", metavar="FILE")] = None,
) -> None:
    """Print the difference of two methods: by task, on the average, its interval and p, and how many seeds it needs.

    The folder's records must be of one model and one protocol.
    """
    check_outputs(out=out)
    from ..report import versus

    section = section_of(results)
    a, b = versus.find(section, first), versus.find(section, second)
    if a is None:
        raise ZobenchError(f"{first} is what a method is held against: write it second")
    made = versus.markdown(section, a, b, margin / 100)
    print_markdown(made)
    if out is not None:
        write_file(out, made.encode())
