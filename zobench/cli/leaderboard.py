"""`zobench leaderboard`: the board of a results folder, from its records alone. Imports no torch."""

from __future__ import annotations

import difflib
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ZobenchError
from ..paths import check_becomes_folder, check_writable, is_file, is_folder, read
from .common import FamilyName, FamilyOption, PluginFiles, note_twice, plugins_of, some

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.leaderboard import Board
    from ..report.store import Reading


class BoardFormat(StrEnum):
    """What a board is written as."""

    md = "md"
    csv = "csv"
    json = "json"
    latex = "latex"
    html = "html"


class SortBy(StrEnum):
    """What methods are sorted by: their average, the best first; what they take, the least first."""

    average = "average"
    memory = "memory"
    time = "time"


class RecordsFormat(StrEnum):
    """What the records are written as, a flat row a cell."""

    parquet = "parquet"
    csv = "csv"


def leaderboard(
    results: Annotated[
        list[Path], typer.Argument(help="Results folders: cells/ or a pack. Of several, one board.", metavar="DIR...")
    ],
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
    format_: Annotated[
        BoardFormat | None,
        typer.Option("--format", help="Print it so, or write it so to --out; no other file is written."),
    ] = None,
    records: Annotated[
        RecordsFormat | None,
        typer.Option("--records", help="The records, a flat row a cell, not the board: see --format."),
    ] = None,
    html: Annotated[
        bool, typer.Option("--html/--no-html", help="Write board.html beside it: sortable, with charts; no network.")
    ] = True,
    max_memory: Annotated[
        str | None, typer.Option(help="Only methods whose cells' peak memory was within this, such as 16GB.")
    ] = None,
    sort: Annotated[
        SortBy, typer.Option(help="Methods by average, or by peak memory or time of a step, the least first.")
    ] = SortBy.average,
    full: Annotated[bool, typer.Option("--full", help="Print all of it, as Markdown.")] = False,
    family: FamilyOption = FamilyName.board,
    plugin: PluginFiles = None,
) -> int:
    """Make the leaderboard of a results folder from its records: print its first screen, and write
    DIR/leaderboard.md and DIR/board.html. Of several folders it is printed, or written to --out.

    The same records give the same bytes. Every record and every file beside one must be as it was written, by its
    checksum; --check reads weights for that too. Exit status: 0; 1 if --check finds another board; 2 for bad input, and
    where a record or a file beside it is unreadable or was changed: the board is still made from the other records,
    and names those that are left out.
    """
    _agree(check=check, format_=format_, records=records, several=len(results) > 1, out=out)
    if out is not None and not check:
        check_becomes_folder(out.parent, "--out")
        if is_folder(out.parent, "--out"):
            check_writable(out, "--out")
    from ..report import store
    from . import board_export

    found = board_export.gather(results)
    if records is not None:
        board_export.put_records(found.records, records.value, out)
        return _faults(results, found, whole=False)
    options = {"paper": paper, "split_protocols": split_protocols, "family": family.value, "order": sort.value}
    board = _board(found, plugins_of(plugin), max_memory, **options)
    path = results[0] / store.BOARD if out is None else out
    status = 0
    if check:
        status = _check(path, board.markdown)
    elif format_ is not None:
        board_export.put(board, format_.value, out, results)
    else:
        _print(board, full=full)
        if len(results) == 1 or out is not None:
            status = _put(results, path, board, asked=out is not None, html=html)
    return _faults(results, found, whole=check) or status


def _board(found: Reading, plugins: Plugins, max_memory: str | None, **options: Any) -> Board:
    """The board of these records, with what the plugins add to it and know of early ones."""
    from ..plugins import declared
    from ..report import memory
    from ..report.known import filled
    from ..report.leaderboard import board

    options["most_bytes"] = None if max_memory is None else memory.parsed(max_memory)
    known = declared.known(plugins)
    columns = plugins.leaderboard_columns()
    return board(filled(found.records, known), known=known, columns=columns, problems=found.problems, **options)


def _agree(
    *, check: bool, format_: BoardFormat | None, records: RecordsFormat | None, several: bool, out: Path | None
) -> None:
    """Raises ZobenchError for options that exclude each other."""
    if check and (format_ is not None or records is not None):
        raise ZobenchError("--check compares leaderboard.md: leave out --format and --records")
    if format_ is not None and records is not None:
        raise ZobenchError("--format is of the board, --records is of its records: give one of them")
    if check and several and out is None:
        raise ZobenchError("--check of several folders needs the file: add --out FILE")
    if records is RecordsFormat.parquet and out is None:
        raise ZobenchError("--records parquet is no text: name the file, --out FILE.parquet")


def _faults(results: list[Path], found: Reading, *, whole: bool) -> int:
    """Say what is wrong with the records and the files beside them; 2 where something was changed or is no record."""
    from ..report import store, text

    wrong = list(found.problems)
    missing: list[str] = []
    unclaimed: list[str] = []
    for folder in results:
        own = store.survey(folder) if len(results) > 1 else found
        altered, lost = store.beside(folder, own.records, hash_weights=whole)
        wrong += altered
        missing += lost
        unclaimed += store.unclaimed(folder, own.records, own.problems)
        note_twice(folder, own.twice)
    for problem in wrong:
        print(f"zobench: error: {text.printable(str(problem))}", file=sys.stderr)
    for names, why in (
        (missing, "missing beside their records, of which replays need them"),
        (unclaimed, "there without a record"),
    ):
        if names:
            print(f"zobench: note: {text.printable(some(names))}: {why}", file=sys.stderr)
    return 2 if wrong else 0


def _print(board: Board, *, full: bool) -> None:
    from .screen import show

    if full:
        print(board.markdown, end="")
    else:
        show(board)


def _put(results: list[Path], path: Path, board: Board, *, asked: bool, html: bool) -> int:
    """Write the board, and the page beside it. Where the system refuses, a line and 0 (2 if `asked` for)."""
    from ..report import store
    from ..report.web import page

    beside = path.with_name(page.PAGE) if path.name == store.BOARD else path.with_suffix(".html")
    try:
        store.write_text(path, board.markdown)
        if html:
            page.write(beside, board, page.losses_of(*results))
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
