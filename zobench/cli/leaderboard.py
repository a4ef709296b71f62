"""`zobench leaderboard`: the board of a results folder, from its records alone. Imports no torch."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from ..paths import check_becomes_folder, check_writable, is_file, is_folder, read
from .common import FamilyName, FamilyOption, PluginFiles, note_twice, plugins_of, some

if TYPE_CHECKING:
    from ..report.leaderboard import Board


def leaderboard(
    results: Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack.", metavar="DIR")],
    paper: Annotated[bool, typer.Option("--paper", help="Put the paper's numbers beside ours.")] = False,
    split_protocols: Annotated[
        bool, typer.Option("--split-protocols", help="A section for each protocol, where they differ.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write (or check) this file, not DIR/leaderboard.md.", metavar="FILE")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the file is not what the records give.")
    ] = False,
    html: Annotated[
        bool, typer.Option("--html/--no-html", help="Write board.html beside it: sortable, with charts; no network.")
    ] = True,
    full: Annotated[bool, typer.Option("--full", help="Print all of it, as Markdown.")] = False,
    family: FamilyOption = FamilyName.board,
    plugin: PluginFiles = None,
) -> int:
    """Make the leaderboard of a results folder from its records: print its first screen, and write
    DIR/leaderboard.md and DIR/board.html.

    The same records give the same bytes. Every record and every file beside one must be as it was written, by its
    checksum; --check reads weights for that too. Exit status: 0; 1 if --check finds another board; 2 for bad input, and
    where a record or a file beside it is unreadable or was changed: the board is still made from the other records,
    and names those that are left out.
    """
    if out is not None and not check:
        check_becomes_folder(out.parent, "--out")
        if is_folder(out.parent, "--out"):
            check_writable(out, "--out")
    from ..report import store, text
    from ..report.leaderboard import board as make

    found = store.survey(results)
    records, problems = found.records, found.problems
    if not records:
        for problem in problems:
            print(f"zobench: warning: {text.printable(str(problem))}", file=sys.stderr)
        read = "no record in" if not problems else "no readable record in"
        raise ZobenchError(f"{read} {results / store.CELLS}: make some with `zobench run --results {results}`")
    columns = plugins_of(plugin).leaderboard_columns()
    board = make(
        records,
        paper=paper,
        columns=columns,
        split_protocols=split_protocols,
        problems=problems,
        family=family.value,
    )
    path = results / store.BOARD if out is None else out
    if check:
        status = _check(path, board.markdown)
    else:
        _print(board, full=full)
        status = _put(results, path, board, asked=out is not None, html=html)
    altered, missing = store.beside(results, records, hash_weights=check)
    for problem in [*problems, *altered]:
        print(f"zobench: error: {text.printable(str(problem))}", file=sys.stderr)
    note_twice(results, found.twice)
    for names, why in (
        (missing, "missing beside their records, of which replays need them"),
        (store.unclaimed(results, records, problems), "there without a record"),
    ):
        if names:
            print(f"zobench: note: {text.printable(some(names))}: {why}", file=sys.stderr)
    return 2 if problems or altered else status


def _print(board: Board, *, full: bool) -> None:
    from .screen import show

    if full:
        print(board.markdown, end="")
    else:
        show(board)


def _put(results: Path, path: Path, board: Board, *, asked: bool, html: bool) -> int:
    """Write the board, and the page beside it. Where the system refuses, a line and 0 (2 if `asked` for)."""
    from ..report import store
    from ..report.web import page

    beside = path.with_name(page.PAGE) if path.name == store.BOARD else path.with_suffix(".html")
    try:
        store.write_text(path, board.markdown)
        if html:
            page.write(beside, board, page.losses_of(results))
    except OSError as e:
        kind = "error" if asked else "warning"
        print(f"zobench: {kind}: cannot write {path} ({e.strerror}); the board is above", file=sys.stderr)
        return 2 if asked else 0
    return 0


def _check(path: Path, board: str) -> int:
    """0 where `path` holds this board; else 1, with the first differences on stderr."""
    if not is_file(path, "--check"):
        raise ZobenchError(f"no {path} to check: make it with `zobench leaderboard`, without --check")
    committed = read(path, "--check").decode(errors="replace")
    if committed == board:
        print(f"{path} is what the records give", file=sys.stderr)
        return 0
    lines = difflib.unified_diff(
        committed.splitlines(), board.splitlines(), "committed", "from the records", n=0, lineterm=""
    )
    for line, _ in zip(lines, range(12), strict=False):
        print(line[:200], file=sys.stderr)
    print(
        f"zobench: {path} is not what the records give; make it again with the same options, without --check",
        file=sys.stderr,
    )
    return 1
