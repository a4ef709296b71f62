"""A pack: records, one a line of JSON, in one xz file beside the board, read like the folder of cells. Light.

`records.jsonl.xz` has the very text of each record's file with a tab where a line ended (JSON has no tab of its own, so
that is undone without a loss, and a record's checksum holds as it stands); sorted by id. `files.jsonl.xz` has side
files: `{"name": ..., "text": ...}`, or `base64` for what is no text; sorted by name.

Nothing that lies in such a file makes a reader wait, or take more memory than records do: text, lines and the memory
of the decoder are bounded, and what is wrong is a RecordProblem, beside which the other lines are read.
"""

from __future__ import annotations

import base64
import binascii
import json
import lzma
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from .judge import LARGEST, Kind, RecordProblem, judge
from .record import Record

RECORDS = "records.jsonl.xz"
SIDES = "files.jsonl.xz"

MOST_BYTES = 1 << 30
"""Of the text of a pack; thousands of records have some ten million."""
MOST_LINES = 1 << 20
MEMORY = 1 << 27
"""Bytes that decoding may take: xz takes 64 MiB at its highest level."""
NAMED = 100
"""Bad lines that are named, one by one; of the others the number is said."""

_CHUNK = 1 << 20
_BACK = "put the pack of before back"
_ID = re.compile(rb'\t "id": ("(?:[^"\\\t]|\\.)*")')
"""The id in the layout of records: of the outermost keys alone are a tab and one space before."""


class Fault(Exception):
    """What is wrong with a pack as a whole, from some line on."""

    def __init__(self, why: str, mend: str = _BACK, kind: Kind = "broken") -> None:
        super().__init__(why)
        self.why, self.mend, self.kind = why, mend, kind

    def problem(self, file: str) -> RecordProblem:
        """It as a problem of a file."""
        return RecordProblem(file, self.why, self.mend, self.kind)


def to_line(text: bytes) -> bytes:
    """The line of a record's text, without its end."""
    return text.rstrip(b"\n").replace(b"\n", b"\t")


def to_text(line: bytes) -> bytes:
    """The text of a record's line: the file that it was."""
    return line.replace(b"\t", b"\n") + b"\n"


def id_of(line: bytes) -> str | None:
    """The id that a line says; None where it says none."""
    found = _ID.search(line)
    try:
        value = json.loads(line if found is None else found[1])
    except (ValueError, RecursionError):
        return None
    said = value.get("id") if isinstance(value, dict) else value
    return said if isinstance(said, str) else None


def lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a pack with their numbers from 1, without their ends; None for one that is too long.

    Raises Fault, after the lines that could be read, for what is no xz file, cut short, damaged or too large.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe would wait for ever
            raise Fault("not a file", "move it out of the folder")
        with path.open("rb") as f:
            for number, line in enumerate(_split(_decoded(f)), 1):
                if number > MOST_LINES:
                    raise Fault(f"more than {MOST_LINES} lines are too many", "move it out of the folder")
                yield number, line
    except OSError as e:
        raise Fault(f"cannot be read ({e.strerror})", "check its permissions", "unread") from None


def _decoded(f: IO[bytes]) -> Iterator[bytes]:
    """The text, in pieces; one stream of xz after another, as `cat` puts them together."""
    coder, total, seen = None, 0, False
    while data := f.read(_CHUNK):
        while data:
            if coder is None:
                data = data.lstrip(b"\0") if seen else data  # the padding between streams
                if not data:
                    break
                coder, seen = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY), True
            for piece in _pieces(coder, data):
                total += len(piece)
                if total > MOST_BYTES:
                    raise Fault(f"over {MOST_BYTES} bytes of text are too many", "move it out of the folder")
                yield piece
            data, coder = (coder.unused_data, None) if coder.eof else (b"", coder)
    if coder is not None:
        raise Fault("cut short: its end is missing")
    if not seen:
        raise Fault("an empty file")


def _pieces(coder: lzma.LZMADecompressor, data: bytes) -> Iterator[bytes]:
    try:
        yield coder.decompress(data, _CHUNK)
        while not coder.eof and not coder.needs_input:
            yield coder.decompress(b"", _CHUNK)
    except lzma.LZMAError as e:
        raise Fault(f"no xz file, or a damaged one ({e})") from None


def _split(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            size += len(part)
            yield None if size > LARGEST else b"".join([*parts, part])
            parts, size = [], 0
        size += len(rest)
        if size > LARGEST:
            parts = []  # what is too long is not kept
        elif rest:
            parts.append(rest)
    if size:
        yield None if size > LARGEST else b"".join(parts)


@dataclass
class Pack:
    """The lines of a pack by their ids, as they stand, and what is wrong with it."""

    lines: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # id -> number of the line, the line
    problems: list[RecordProblem] = field(default_factory=list)
    unnamed: int = 0

    def record(self, cell_id: str) -> Record | RecordProblem:
        """The record of a line, judged as a record's file is; KeyError for an id that no line has."""
        number, line = self.lines[cell_id]
        return _judged(number, line, cell_id)

    def fault(self, problem: RecordProblem) -> None:
        """Keep a problem of a line: among the first by itself, later ones as a number."""
        if len(self.problems) < NAMED:
            self.problems.append(problem)
        else:
            self.unnamed += 1


def _judged(number: int, line: bytes, cell_id: str) -> Record | RecordProblem:
    found = judge(f"{RECORDS} line {number}", cell_id, to_text(line))
    if isinstance(found, RecordProblem):
        mend = found.mend if found.kind == "newer" else f"{_BACK}, or run its cell again"
        return replace(found, mend=mend, cell=cell_id)
    return found


def open_pack(results: Path) -> Pack:
    """The pack of a results folder; without lines where there is none."""
    pack, path = Pack(), Path(results) / RECORDS
    try:
        for number, line in _there(path):
            cell_id = None if line is None else id_of(line)
            where = f"{RECORDS} line {number}"
            if line is None:
                pack.fault(RecordProblem(where, f"over {LARGEST} bytes are too many for a record", _BACK))
            elif cell_id is None:
                found = _judged(number, line, "")
                pack.fault(found if isinstance(found, RecordProblem) else RecordProblem(where, "not a record", _BACK))
            elif cell_id in pack.lines:
                first, same = pack.lines[cell_id][0], pack.lines[cell_id][1] == line
                why = f"{cell_id} is in line {first} too" + ("" if same else ", and otherwise") + "; that one counts"
                pack.fault(RecordProblem(where, why, _BACK, "edited", cell_id))
            else:
                pack.lines[cell_id] = number, line
    except Fault as e:
        pack.problems.append(e.problem(RECORDS))
    if pack.unnamed:
        pack.problems.append(RecordProblem(RECORDS, f"{pack.unnamed} further lines are no records", _BACK))
    return pack


def find(results: Path, cell_id: str) -> Record | RecordProblem | None:
    """The record of a cell in the pack; None where it has none; the pack's own fault where it may have had one."""
    try:
        for number, line in _there(Path(results) / RECORDS):
            if line is not None and id_of(line) == cell_id:
                return _judged(number, line, cell_id)
    except Fault as e:
        return e.problem(RECORDS)
    return None


def sides(results: Path) -> Iterator[tuple[str, bytes | RecordProblem]]:
    """The side files of a pack, by name, and what is wrong with lines that hold none."""
    try:
        for number, line in _there(Path(results) / SIDES):
            where = f"{SIDES} line {number}"
            try:
                if line is None:
                    raise ValueError("too long")
                value = json.loads(line)
                data = value["text"].encode() if "text" in value else base64.b64decode(value["base64"], validate=True)
                if not isinstance(value["name"], str):
                    raise TypeError("its name is no text")
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as e:
                yield where, RecordProblem(where, f"holds no file ({type(e).__name__}: {str(e):.80})", _BACK, "beside")
                continue
            yield value["name"], data
    except Fault as e:
        yield SIDES, replace(e.problem(SIDES), kind="beside")


def side_line(name: str, data: bytes) -> bytes:
    """The line of a side file, without its end."""
    try:
        how = {"text": data.decode()}
    except UnicodeDecodeError:
        how = {"base64": base64.b64encode(data).decode()}
    return json.dumps({"name": name, **how}, ensure_ascii=False, sort_keys=True).encode()


def _there(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """As `lines`; none where nothing lies there."""
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as e:
        raise Fault(f"cannot be read ({e.strerror})", "check its permissions", "unread") from None
    yield from lines(path)
