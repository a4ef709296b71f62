"""`zobench clean`: remove what of a results folder is of no more use. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import print_table


def clean(
    results: Annotated[Path, typer.Argument(help="A results folder.", metavar="DIR")],
    older: Annotated[
        bool, typer.Option("--older/--no-older", help="Records of older settings: a later run has the same method.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it; else it is only listed.")] = False,
) -> None:
    """List, and with --yes remove, records of older settings and what processes that are dead have left.

    A record is of older settings where a later one has the same model, task, estimator, selector, seed and split, and
    other settings, protocol or versions. Look at the list first: settings that were tried side by side are on it too.
    Nothing of a cell that runs is touched.
    """
    from ..report import cleaning

    found = cleaning.find(results)
    if not older:
        found.older = {}
    rows = [[f"cells/{old}.json", f"older than {new}"] for old, new in sorted(found.older.items())]
    rows += [[str(path.relative_to(results)), why] for path, why in sorted(found.left.items())]
    if not rows:
        print(f"{results}: nothing to remove")
        return
    print_table(["file", "why"], rows)
    if not yes:
        print(f"{len(rows)} to remove, with what lies beside the records: --yes does it")
        return
    gone, packed = cleaning.remove(results, found)
    print(f"{gone} files removed")
    for cell in packed:
        print(f"{cell} is in a pack, and stays: `zobench pack {results} --undo --remove` first")
