"""Records on disk: DIR/cells/<id>.json, written whole or not at all, read one by one so that a bad one spoils no other.

Beside a record lie its side files (see Files), which zobench.run.artefacts writes. Light: imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import redact
from ..errors import ZobenchError
from . import seal
from .disk import write_text
from .judge import CELLS, Problem, check, load
from .plain import dumps, finite
from .record import Record

__all__ = ["BOARD", "CELLS", "Files", "Problem", "check", "dumps", "find", "finite", "read", "write", "write_text"]

BOARD = "leaderboard.md"


@dataclass(frozen=True)
class Files:
    """Where the files of one cell are, whether or not they exist."""

    record: Path
    steps: Path  # JSON lines: what was logged of training
    replay: Path  # the replay log of the chosen run, up to its checkpoint
    weights: Path  # the scope's weights there, where a log cannot rebuild them
    error: Path  # the traceback of a failure

    @property
    def beside(self) -> tuple[Path, ...]:
        """All but the record."""
        return self.steps, self.replay, self.weights, self.error


ENDINGS: Mapping[str, str] = {
    "record": "json",
    "steps": "steps.jsonl",
    "replay": "replay.bin",
    "weights": "weights.safetensors",
    "error": "error.txt",
}
"""What the files of a cell end in."""

OPTIONAL = frozenset({"weights", "error"})
"""Side files that may well be left out where records are shared: large, or of no use to a reader of numbers."""


def files(results: Path, cell: str | Record) -> Files:
    """The paths of a cell's files: of a record where it says that they are, of an id where a first run puts them."""
    cell_id, said = (cell, {}) if isinstance(cell, str) else (cell["id"], cell.get("files", {}))
    folder = Path(results) / CELLS
    names = {kind: f"{cell_id}.{ending}" for kind, ending in ENDINGS.items()}
    names |= {kind: info["name"] for kind, info in said.items() if kind in names}
    return Files(**{kind: folder / name for kind, name in names.items()})


def write(results: Path, record: Record) -> Path:
    """Write a record, last of its cell's files, so that where it stands they are whole; returns its path.

    Numbers that are not finite become null; its checksum is added. Raises ValueError where the record has not the shape
    that record.py declares, or its parts do not agree: that is a bug of its writer.
    """
    path = files(results, record["id"]).record
    write_text(path, sealed(record))
    return path


def sealed(record: Record) -> str:
    """The text of a record's file, without a secret, its checksum in it. Errors as `write`."""
    plain: dict[str, Any] = redact.clean({"files": {}, **finite(record)})
    wrong = check(plain)
    if wrong:
        raise ValueError(f"record {record.get('id')} is malformed: {'; '.join(wrong[:5])}")
    return dumps({**plain, seal.KEY: seal.checksum(dumps(plain))})


def read(results: Path) -> tuple[list[Record], list[Problem]]:
    """All records under `results`, in the order of their file names, and the files that are none.

    Both are empty where no cell was finished yet. Raises ZobenchError where `results` is no results folder.
    """
    folder = _cells(results)
    records: list[Record] = []
    problems: list[Problem] = []
    for path in sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")):
        found = load(path)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            records.append(found)
    return records, problems


def readable(results: Path) -> list[Record]:
    """The records of a results folder, as `read`. ZobenchError where one of them cannot be read."""
    records, problems = read(results)
    if problems:
        raise ZobenchError(f"{results}: {problems[0]}")
    return records


def find(results: Path, cell_id: str) -> Record | Problem | None:
    """The record of a cell; None where there is none, a Problem where there is a file that is no record."""
    path = files(results, cell_id).record
    return load(path) if os.path.lexists(path) else None


def beside(results: Path, records: Iterable[Record], *, whole: bool = False) -> tuple[list[Problem], list[str]]:
    """The side files that are not what their records say, and those (relative to `results`) that are not there.

    Weights are judged by their size, unless `whole`: to read them takes as long as they are large.
    """
    folder = Path(results) / CELLS
    problems: list[Problem] = []
    missing: list[str] = []
    for record in records:
        for kind, said in sorted(record.get("files", {}).items()):
            name = f"{CELLS}/{said['name']}"
            try:
                why = seal.file_fault(folder, said, whole=whole or kind != "weights")
            except FileNotFoundError:
                missing.append(name)
                continue
            if why is not None:
                mend = f"put the file of before back, or run the cell of {record['id']} again with --rerun always"
                problems.append(Problem(name, why, mend, "beside"))
    return problems, missing


def unclaimed(results: Path, records: Iterable[Record], problems: Iterable[Problem]) -> list[str]:
    """The side files, relative to `results`, whose record is not there: it was removed, or never written.

    Drafts and tracebacks do not count, nor what lies beside a file that is no record.
    """
    claimed = {name for r in records for name in (r["id"], *(info["name"] for info in r.get("files", {}).values()))}
    claimed |= {Path(problem.file).stem for problem in problems}
    out = []
    for path in (Path(results) / CELLS).iterdir():
        kind = next((k for k, ending in ENDINGS.items() if path.name.endswith(f".{ending}")), "record")
        stem = path.name.removesuffix(f".{ENDINGS[kind]}")
        if kind not in ("record", "error") and path.name[0] != "." and not {path.name, stem} & claimed:
            out.append(f"{CELLS}/{path.name}")
    return sorted(out)


def _cells(results: Path) -> Path:
    results = Path(results)
    make = f"make one with `zobench run --results {results}`"
    if not results.exists():
        raise ZobenchError(f"no results folder {results}: check the path, or {make}")
    if not results.is_dir():
        raise ZobenchError(f"{results} is a file: give the results folder, which holds {CELLS}/")
    folder = results / CELLS
    if not folder.is_dir():
        mend = f"did you mean {results.parent}?" if results.name == CELLS else make
        raise ZobenchError(f"no {CELLS}/ in {results}, so it is no results folder: {mend}")
    return folder
