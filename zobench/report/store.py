"""Records on disk: DIR/cells/<id>.json, written whole or not at all, read one by one so that a bad one spoils no other.

Finished ones may lie in a pack instead (packed.py): whoever reads through here sees no difference, and of a cell that
is in both, the file in cells/ counts. Beside a record lie its side files (see Files), which zobench.run.artefacts
writes. Light: imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import redact
from ..errors import ZobenchError
from . import packed, seal
from .disk import write_text
from .judge import CELLS, RecordProblem, check, load, settled
from .plain import dumps, finite
from .record import FileInfo, Record

__all__ = [
    "BOARD",
    "CELLS",
    "Files",
    "RecordProblem",
    "check",
    "dumps",
    "find",
    "finite",
    "read",
    "write",
    "write_text",
]

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


@dataclass(frozen=True)
class Reading:
    """What a results folder holds."""

    records: list[Record]
    """In the order of the names of their files."""
    problems: list[RecordProblem]
    """Files in cells/ that are no records, then lines of the pack that are none."""
    twice: list[str]
    """Cells of which cells/ and the pack have finished records that differ; those of cells/ are in `records`."""


def survey(results: Path) -> Reading:
    """All that lies under `results`: nothing where no cell was finished yet. ZobenchError for no results folder."""
    loose, problems = loose_records(check_folder(results))
    pack = packed.open_pack(results)
    hidden = {problem.cell for problem in problems}  # by files that are no records: cells/ goes before the pack
    problems += pack.problems
    records, twice = list(loose.values()), []
    for cell_id, (_, line) in pack.lines.items():
        if cell_id in loose and _same_bytes(files(results, cell_id).record, line):
            continue
        found = pack.record(cell_id)
        if isinstance(found, RecordProblem):
            problems.append(found)
        elif cell_id in loose:
            if settled(found) and dumps(found) != dumps(loose[cell_id]):
                twice.append(cell_id)
        elif cell_id not in hidden:
            records.append(found)
    return Reading(sorted(records, key=lambda record: f"{record['id']}.json"), problems, twice)


def loose_records(folder: Path) -> tuple[dict[str, Record], list[RecordProblem]]:
    """The records in cells/ by id, and the files there that are none."""
    records: dict[str, Record] = {}
    problems: list[RecordProblem] = []
    for path in sorted(path for path in folder.glob("*.json") if not path.name.startswith(".")):
        found = load(path)
        if isinstance(found, RecordProblem):
            problems.append(found)
        else:
            records[found["id"]] = found
    return records, problems


def _same_bytes(path: Path, line: bytes) -> bool:
    try:
        return path.read_bytes() == packed.to_text(line)
    except OSError:
        return False


def read(results: Path) -> tuple[list[Record], list[RecordProblem]]:
    """The records of a results folder, and what lies there as one and is none: see `survey`."""
    found = survey(results)
    return found.records, found.problems


def readable(results: Path) -> list[Record]:
    """The records of a results folder, as `read`. ZobenchError where one of them cannot be read."""
    records, problems = read(results)
    if problems:
        raise ZobenchError(f"{results}: {problems[0]}")
    return records


def find(results: Path, cell_id: str) -> Record | RecordProblem | None:
    """The record of a cell; None where there is none, a RecordProblem where a file, or a line, is no record."""
    path = files(results, cell_id).record
    return load(path) if os.path.lexists(path) else packed.find(results, cell_id)


def beside(
    results: Path, records: Iterable[Record], *, hash_weights: bool = False
) -> tuple[list[RecordProblem], list[str]]:
    """The side files that are not what their records say, and those (relative to `results`) that are not there.

    What is not in cells/ may be in the pack. Weights are judged by their size, unless `hash_weights`: to read
    them takes as long as they are large.
    """
    folder = Path(results) / CELLS
    problems: list[RecordProblem] = []
    absent: dict[str, tuple[Record, FileInfo]] = {}
    for record in records:
        for kind, said in sorted(record.get("files", {}).items()):
            try:
                why = seal.file_fault(folder, said, hashed=hash_weights or kind != "weights")
            except FileNotFoundError:
                absent[said["name"]] = record, said
                continue
            if why is not None:
                problems.append(_other_file(f"{CELLS}/{said['name']}", why, record))
    for name, data in packed.sides(results) if absent else ():
        if isinstance(data, RecordProblem):
            problems.append(data)
        elif name in absent:
            record, said = absent.pop(name)
            if (why := seal.data_fault(data, said)) is not None:
                problems.append(_other_file(f"{packed.SIDES}: {name}", why, record))
    return problems, [f"{CELLS}/{name}" for name in absent]


def _other_file(name: str, why: str, record: Record) -> RecordProblem:
    mend = f"put the file of before back, or run the cell of {record['id']} again with --rerun always"
    return RecordProblem(name, why, mend, "beside")


def side(results: Path, path: Path) -> bytes | None:
    """What a side file holds: the file in cells/, else that of the pack; None where it is in neither."""
    if path.is_file():
        return path.read_bytes()
    found = (data for name, data in packed.sides(results) if name == path.name and isinstance(data, bytes))
    return next(found, None)


def unclaimed(results: Path, records: Iterable[Record], problems: Iterable[RecordProblem]) -> list[str]:
    """The side files, relative to `results`, whose record is not there: it was removed, or never written.

    Drafts and tracebacks do not count, nor what lies beside a file that is no record.
    """
    claimed = {name for r in records for name in (r["id"], *(info["name"] for info in r.get("files", {}).values()))}
    claimed |= {problem.cell for problem in problems}
    out = []
    for path in (Path(results) / CELLS).glob("*"):
        kind = next((k for k, ending in ENDINGS.items() if path.name.endswith(f".{ending}")), "record")
        stem = path.name.removesuffix(f".{ENDINGS[kind]}")
        if kind not in ("record", "error") and path.name[0] != "." and not {path.name, stem} & claimed:
            out.append(f"{CELLS}/{path.name}")
    return sorted(out)


def is_results(results: Path) -> bool:
    """Whether a folder holds cells, or a pack of them."""
    return (Path(results) / CELLS).is_dir() or os.path.lexists(Path(results) / packed.RECORDS)


def check_folder(results: Path) -> Path:
    """Where its cells are, or would be beside a pack. Raises ZobenchError where `results` is no results folder."""
    results = Path(results)
    make = f"make one with `zobench run --results {results}`"
    if not results.exists():
        raise ZobenchError(f"no results folder {results}: check the path, or {make}")
    if not results.is_dir():
        raise ZobenchError(f"{results} is a file: give the results folder, which holds {CELLS}/")
    folder = results / CELLS
    if not is_results(results):
        mend = f"did you mean {results.parent}?" if results.name == CELLS else make
        raise ZobenchError(f"no {CELLS}/ in {results}, so it is no results folder: {mend}")
    return folder
