"""`zobench merge`: several results folders, of several machines, in one. Imports no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ZobenchError
from ..paths import check_becomes_folder


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Results folders.", metavar="DIR...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new folder.", metavar="DIR")],
    prefer: Annotated[
        Path | None,
        typer.Option(help="Whose record to take of a cell of which two have other numbers.", metavar="DIR"),
    ] = None,
) -> None:
    """Put the records of several folders into a new one, with what lies beside them, byte for byte: side files, scores
    of the untouched model, cells that were begun, plans, options of the runs, and tasks of --data.

    First everything is checked: seals of records and of the files beside them, cells of which two folders have other
    numbers, tasks of which they have other data. What is wrong is named, and then nothing is written.
    """
    from ..report import merging

    check_becomes_folder(out, "--out")
    if prefer is not None and prefer not in folders:
        raise ZobenchError(f"--prefer {prefer}: name one of the folders that are merged")
    done = merging.merge(list(dict.fromkeys(folders)), out, prefer=prefer, say=_say)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    each = ", ".join(f"{n} of {folder}" for folder, n in done.by_folder.items())
    twice = f"; {done.twice} were in several, with the same numbers" if done.twice else ""
    print(f"{out}: {done.records} records, {each}{twice}")
    for cell in done.running:
        print(f"zobench: note: {cell} runs there now, and what it has done is not taken: merge again", file=sys.stderr)


def _say(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} records", end="", file=sys.stderr, flush=True)
