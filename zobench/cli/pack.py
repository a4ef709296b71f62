"""`zobench pack`: the records of a results folder in one small file. Imports no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import ZobenchError, unknown


def pack(
    results: Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack.", metavar="DIR")],
    with_: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="KINDS",
            help="Also side files, in files.jsonl.xz: steps, replay, error, comma separated.",
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Then remove from cells/ what was read back from the pack.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Where the pack has another finished record of a cell, take cells/'s."),
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Write cells/ from the pack; with --remove, then remove the pack.")
    ] = False,
) -> int:
    """Put all records of a results folder into DIR/records.jsonl.xz, which every command reads like cells/.

    The same records give the same bytes; checksums of records hold inside. Records that come later lie in cells/ and
    are read beside the pack; where both have a cell, cells/ counts; another `zobench pack` puts them in too. Side
    files that are not packed stay in cells/, with --remove too. Exit status: 0; 2 for bad input, and where a file
    in cells/ is no record: it is named and stays, and the others are packed.
    """
    from ..report import packed, packing, text
    from ..report.packing import WITH

    kinds = [] if with_ is None else [kind.strip() for kind in with_.split(",") if kind.strip()]
    for kind in kinds:
        if kind == "weights":
            raise ZobenchError("--with weights: weights do not become smaller; they stay in cells/")
        if kind not in WITH:
            raise ZobenchError(f"--with: {unknown('kind of side file', kind, WITH)}")
    if undo:
        if kinds or replace:
            raise ZobenchError("--undo takes all that the pack holds: leave --with and --replace out")
        done = packing.unpack(results, remove=remove)
        gone = "; the pack is removed" if remove else ""
        print(f"{results / 'cells'}: {done.records} records and {done.sides} side files written{gone}")
    else:
        done = packing.pack(results, kinds=kinds, remove=remove, replace=replace)
        for name, size in done.sizes.items():
            what = f"{done.sides} side files" if name == packed.SIDES else f"{done.records} records"
            print(f"{results / name}: {what}, {size} bytes, read back")
        if remove:
            print(f"{results / 'cells'}: {done.removed} files removed")
    for name in done.left:
        print(f"zobench: note: cells/{text.printable(name)}: not what the pack holds; it stays", file=sys.stderr)
    for problem in done.problems:
        print(f"zobench: error: {text.printable(str(problem))}", file=sys.stderr)
    return 2 if done.problems else 0
