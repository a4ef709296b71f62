"""Records on disk: DIR/cells/<id>.json, written whole or not at all, read one by one so that a bad one spoils no other.

Beside a record lie its side files (see Files), which zobench.run.artefacts writes. Light: imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from ..errors import ZobenchError
from .record import SCHEMA, Record
from .shape import faults

CELLS = "cells"
BOARD = "leaderboard.md"
_MEND = "delete it, then run its cell again"


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


@dataclass(frozen=True)
class Problem:
    """A record that cannot be used, and what to do about it. `file` is relative to the results folder."""

    file: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}: {self.why}; {self.mend}"


def files(results: Path, cell_id: str) -> Files:
    """The paths of a cell's files."""
    endings = ("json", "steps.jsonl", "replay.bin", "weights.safetensors", "error.txt")
    return Files(*(Path(results) / CELLS / f"{cell_id}.{ending}" for ending in endings))


def write(results: Path, record: Record) -> Path:
    """Write a record, last of its cell's files, so that where it stands they are whole; returns its path.

    Numbers that are not finite become null. Raises ValueError where the record has not the shape that record.py
    declares: that is a bug of its writer.
    """
    plain = cast(Record, finite(record))
    wrong = check(plain)
    if wrong:
        raise ValueError(f"record {record.get('id')} is malformed: {'; '.join(wrong[:5])}")
    path = files(results, record["id"]).record
    write_text(path, dumps(plain))
    return path


def read(results: Path) -> tuple[list[Record], list[Problem]]:
    """All records under `results`, in the order of their file names, and the files that are none.

    Both are empty where no cell was finished yet. Raises ZobenchError where `results` is no results folder.
    """
    folder = _cells(results)
    records: list[Record] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.json")):
        found = _load(path)
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
    return _load(path) if path.is_file() else None


def check(record: Mapping[str, Any]) -> list[str]:
    """What is wrong with the record's shape, one phrase a fault; empty where nothing is."""
    ok = record.get("status") == "ok"
    wrong = list(faults(record, Record, nulls=not ok))
    if ok and not wrong:
        wrong += [
            f"metrics.{name} is missing though status is ok"
            for name in ("zero_shot", "test")
            if name not in record["metrics"]
        ]
    return wrong


def write_text(path: Path, text: str) -> None:
    """Put `text` (as UTF-8) at `path`, whole or not at all, whatever happens on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as f:
            f.write(text.encode())
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def dumps(value: Any) -> str:
    """JSON with sorted keys, one key a line, and lists of plain values on one line; ends in a newline.

    The shortest text that reads back as the same number is written, so equal records are equal files.
    Raises ValueError for numbers that are not finite.
    """
    return _dump(value, 0) + "\n"


def finite(value: Any) -> Any:
    """A copy, as JSON has it: tuples are lists, numbers that are not finite are None."""
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _dump(value: Any, depth: int) -> str:
    pad = " " * (depth + 1)
    if isinstance(value, Mapping) and value:
        inner = (f"{pad}{json.dumps(key)}: {_dump(value[key], depth + 1)}" for key in sorted(value))
        return "{\n" + ",\n".join(inner) + "\n" + " " * depth + "}"
    if isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        return "[\n" + ",\n".join(pad + _dump(v, depth + 1) for v in value) + "\n" + " " * depth + "]"
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _load(path: Path) -> Record | Problem:
    name = f"{CELLS}/{path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        return Problem(name, f"cannot be read ({e.strerror})", "check its permissions")
    except UnicodeDecodeError:
        return Problem(name, "not text in UTF-8", _MEND)
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError as e:
        why = "an empty file" if not text.strip() else f"not JSON, or only a part of it ({e})"
        return Problem(name, why, _MEND)
    return _judge(name, path.stem, value)


def _judge(name: str, stem: str, value: Any) -> Record | Problem:
    if not isinstance(value, dict) or "schema" not in value:
        return Problem(name, "not a record (it has no `schema`)", "move it out of the folder")
    schema = value["schema"]
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        return Problem(name, f"schema {schema!r:.40} is not a version", _MEND)
    if schema > SCHEMA:
        return Problem(name, f"schema {schema} is newer than this zobench reads ({SCHEMA})", "upgrade zobench")
    wrong = check(value)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Problem(name, "; ".join(wrong[:3]) + more, _MEND)
    if value["id"] != stem:
        return Problem(name, f"its id is {value['id']!r:.80}, not the file's name", "rename it to its id, or delete it")
    return cast(Record, value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


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


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a crash; a system whose folders cannot be opened (Windows) does so itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
