"""`zobench leaderboard --format` and `--records`: the board, or its records, for other programs. Imports no torch."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError, library
from .common import write_file

if TYPE_CHECKING:
    from ..report.judge import RecordProblem
    from ..report.leaderboard import Board
    from ..report.record import Record
    from ..report.store import Reading


def gather(results: Sequence[Path]) -> Reading:
    """The records of several folders; of a cell that is in two, that of the folder that was named first.

    Raises ZobenchError where there is no record at all.
    """
    from ..report import store, text
    from ..report.plain import dumps

    records: dict[str, Record] = {}
    problems: list[RecordProblem] = []
    twice: list[str] = []
    for folder in results:
        found = store.survey(folder)
        problems += found.problems
        twice += found.twice
        for record in found.records:
            before = records.setdefault(record["id"], record)
            if before is not record and dumps(before) != dumps(record):
                said = f"{record['id']} is in {folder} too, as another record; that of the folder named first counts"
                print(f"zobench: note: {text.printable(said)}", file=sys.stderr)
    if not records:
        for problem in problems:
            print(f"zobench: warning: {text.printable(str(problem))}", file=sys.stderr)
        read = "no record in" if not problems else "no readable record in"
        where = ", ".join(str(folder / store.CELLS) for folder in results)
        raise ZobenchError(f"{read} {where}: make some with `zobench run --results {results[0]}`")
    return store.Reading(sorted(records.values(), key=lambda record: f"{record['id']}.json"), problems, twice)


def put(board: Board, kind: str, out: Path | None, results: Sequence[Path]) -> None:
    """Print a board, or write it to `out`: `kind` is md, csv, json, latex or html."""
    from ..report import export
    from ..report.web import page

    made = {
        "md": lambda: board.markdown,
        "csv": lambda: export.as_csv(board),
        "json": lambda: export.as_json(board),
        "latex": lambda: export.as_latex(board),
        "html": lambda: page.render(board, page.losses_of(*results)),
    }[kind]()
    _out(made.encode(), out)


def put_records(records: Sequence[Record], kind: str, out: Path | None) -> None:
    """Print or write the records, a flat row a cell."""
    from ..report import export

    rows = export.flat(records)
    _out(_parquet(rows) if kind == "parquet" else export.table(rows).encode(), out)


def _out(made: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(made.decode())
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, made)


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Columns of one type each: one whose values differ in it is text."""
    datasets = library("datasets", "--records parquet", instead="take --records csv")
    columns = {key: _column([row.get(key) for row in rows]) for key in dict.fromkeys(k for row in rows for k in row)}
    out = io.BytesIO()
    datasets.Dataset.from_dict(columns).to_parquet(out)
    return out.getvalue()


def _column(values: list[Any]) -> list[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return [float(v) if v is not None and float in kinds else v for v in values]
    return values if len(kinds) <= 1 else [None if v is None else str(v) for v in values]
