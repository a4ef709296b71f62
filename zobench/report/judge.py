"""Whether a file is a record that can be used: JSON, of a schema that is read, of the right shape, sealed and sound."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from . import seal
from .plain import dumps
from .record import SCHEMA, SEALED, Record
from .schema_check import faults
from .sound import disagreements

CELLS = "cells"
LARGEST = 1 << 27
"""Bytes of a record's file; real ones have some ten thousand."""

_MEND = "delete it, then run its cell again"
_HUGE = re.compile(r"[0-9][eE]\+?[0-9]{3,}[\s,\]}]")
"""The end of a number that may be read as infinity."""

Kind = Literal["newer", "unread", "broken", "edited", "beside"]


@dataclass(frozen=True)
class RecordProblem:
    """A record that cannot be used, and what to do about it."""

    file: str
    """Relative to the results folder."""
    why: str
    mend: str
    kind: Kind = "broken"
    """Of a newer schema; a file that the system does not let be read; no record at all, or part of one; a record that
    is not as it was written; or, where the record itself is good, a file beside it that is another than it says."""
    cell: str = ""
    """The id of the cell whose record it would be, where that is known."""

    def __str__(self) -> str:
        return f"{self.file}: {self.why}; {self.mend}"


def settled(record: Mapping[str, Any]) -> bool:
    """Whether a record tells of the cell alone: it was not interrupted, and the machine failed it in nothing."""
    return record["status"] != "interrupted" and "retry" not in record


def mark(record: Mapping[str, Any] | None) -> str:
    """What tells one record of a cell from another of the same cell; empty for none."""
    return "" if record is None else f"{record['environment'].get('started')} {record['time'].get('total_s')}"


def check(record: Mapping[str, Any]) -> list[str]:
    """What is wrong with the record's shape and in itself, one phrase a fault; empty where nothing is."""
    ok = record.get("status") == "ok"
    return list(faults(record, Record, nulls=not ok)) or list(disagreements(cast(Record, record)))


class _Floats(dict[str, float]):
    """Numbers by their text: a record has thousands of scores, of few values, each of which is then one object."""

    def __missing__(self, text: str) -> float:
        value = float(text)
        if len(self) < 4096:
            self[text] = value
        return value


_FLOATS = _Floats()


def load(path: Path) -> Record | RecordProblem:
    """The record in a file, without its own checksum, which was verified; or why it is none."""
    name = f"{CELLS}/{path.name}"
    data = _bytes(name, path)
    found = data if isinstance(data, RecordProblem) else judge(name, path.stem, data)
    return replace(found, cell=path.stem) if isinstance(found, RecordProblem) else found


def judge(name: str, stem: str, data: bytes) -> Record | RecordProblem:
    """As `load`, of what was read: `stem` is the id that it must have, `name` what a problem calls it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return RecordProblem(name, "not text in UTF-8", _MEND)
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_FLOATS.__getitem__)
        if _HUGE.search(text):
            dumps(value)
    except ValueError as e:
        why = "an empty file" if not text.strip() else f"not JSON, or only a part of it ({e})"
        return RecordProblem(name, why, _MEND)
    except RecursionError:
        return RecordProblem(name, "not a record: its JSON is nested too deep", _MEND)
    return _judge(name, stem, data, value)


def _bytes(name: str, path: Path) -> bytes | RecordProblem:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # to open a pipe would wait for ever
            return RecordProblem(name, "not a file", "move it out of the folder")
        if found.st_size > LARGEST:
            return RecordProblem(name, f"{found.st_size} bytes are too many for a record", "move it out of the folder")
        return path.read_bytes()
    except OSError as e:
        return RecordProblem(name, f"cannot be read ({e.strerror})", "check its permissions", "unread")


def _judge(name: str, stem: str, data: bytes, value: Any) -> Record | RecordProblem:
    if not isinstance(value, dict) or "schema" not in value:
        return RecordProblem(name, "not a record (it has no `schema`)", "move it out of the folder")
    schema = value["schema"]
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        return RecordProblem(name, f"schema {schema!r:.40} is not a version", _MEND)
    if schema > SCHEMA:
        return RecordProblem(
            name, f"schema {schema} is newer than this zobench reads ({SCHEMA})", "upgrade zobench", "newer"
        )
    if isinstance(value.get("id"), str) and value["id"] != stem:
        said = f"its id is {value['id']!r:.80}, not the file's name"
        return RecordProblem(name, said, "rename it to its id, or delete it", "edited")
    wrong = check(value)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return RecordProblem(name, "; ".join(wrong[:3]) + more, _MEND, "edited")
    if schema >= SEALED and (why := _unsealed(data, value)):
        return RecordProblem(name, why, "put the record of before back, or " + _MEND, "edited")
    value.pop(seal.KEY, None)
    return cast(Record, value)


def _unsealed(data: bytes, value: Mapping[str, Any]) -> str | None:
    missing = [key for key in ("files", seal.KEY) if key not in value]
    if missing:
        return f"{missing[0]} is missing"
    return None if seal.holds(data, value, dumps) else "it was changed after it was written: its SHA-256 differs"


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
