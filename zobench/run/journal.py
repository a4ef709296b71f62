r"""What a cell has done so far, written down while it runs, so that the next process goes on where this one ended.

`DIR/running/<cell id>.journal` is binary and only ever appended to, one frame at a time:

    file  = b"ZOJOURN\x01" frame*
    frame = <bytes of JSON u32> <bytes of payload u32> <crc32 of the two and of both contents u32> JSON payload

A kill cuts off the last frame at most; reading ends before the first that is not whole. The first frame says what made
the journal (see `Journal.open`): on another machine, or with other versions, numbers would be others, and it is not
used. Then, for each training run of the cell (a learning rate, or a probe of its selector), `begin`, `steps` (what they
saw, as in a replay log; the seconds of each; all that is counted, as it was after the last of them) and `end`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..report import disk, running

MAGIC = b"ZOJOURN\x01"
FLUSH_S = 1.0
"""Seconds between two frames: the steps of so long are lost in a kill."""
SYNC_S = 5.0
"""Seconds between two waits for the disk, at least, so that no more is lost where the machine goes down."""
SHARE = 0.02
"""Of the time, what those waits may take: on a slow disk they are further apart."""
_HEAD = struct.Struct("<III")


@dataclass
class Frame:
    """Some steps of a run, and the run as it was after them."""

    facts: dict[str, Any]
    payload: bytes


@dataclass
class PastRun:
    """A training run of an earlier process."""

    key: dict[str, Any]
    began: dict[str, Any]
    frames: list[Frame] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    """The frames that a process began with."""
    ended: dict[str, Any] | None = None


@dataclass
class Past:
    """What a journal holds."""

    head: dict[str, Any] = field(default_factory=dict)
    runs: list[PastRun] = field(default_factory=list)
    resumed: int = 0
    replayed: int = 0
    seconds: float = 0.0
    size: int = 0
    """Bytes up to the end of the last whole frame; 0: no journal."""


def read(data: bytes) -> Past:
    """The frames of a journal up to the first that is not complete."""
    past = Past()
    if not data.startswith(MAGIC):
        return past
    at = len(MAGIC)
    while len(data) >= at + _HEAD.size:
        said, size, crc = _HEAD.unpack_from(data, at)
        end = at + _HEAD.size + said + size
        if len(data) < end or zlib.crc32(data[at + _HEAD.size : end], zlib.crc32(data[at : at + 8])) != crc:
            break
        try:
            facts = json.loads(data[at + _HEAD.size : at + _HEAD.size + said])
            _take(past, facts, data[at + _HEAD.size + said : end])
        except (ValueError, LookupError, TypeError):  # a whole frame, and none of ours: of another version
            break
        at = past.size = end
    return past


def _take(past: Past, facts: dict[str, Any], payload: bytes) -> None:
    kind = facts.pop("at")
    past.seconds = max(past.seconds, facts.pop("clock", 0.0))
    if kind == "head":
        past.head = facts
    elif kind == "resumed":
        past.resumed += 1
    elif kind == "drop":
        del past.runs[facts["run"] :]
    elif kind == "begin":
        past.runs[facts["run"] : facts["run"] + 1] = [PastRun(facts["key"], facts)]
    elif kind == "goes on":
        past.replayed += facts["replayed"]
        run = past.runs[facts["run"]]
        del run.frames[facts["frames"] :]
        run.segments = [s for s in run.segments if s < len(run.frames)] + [len(run.frames)]
    elif kind == "steps":
        past.runs[facts["run"]].frames.append(Frame(facts, payload))
    elif kind == "end":
        past.runs[facts["run"]].ended = facts


class Journal:
    """The journal of a cell that runs here. One process has it at a time: the one whose claim the cell is."""

    def __init__(self, folder: Path, cell_id: str, head: Mapping[str, Any], past: Past, data: bytes) -> None:
        self.folder, self.cell_id, self.past = folder, cell_id, past
        self.mark = secrets.token_hex(4)
        self.runs = 0
        self.seconds = past.seconds
        self._began = self._synced = time.monotonic()
        self._wait_s = SYNC_S
        temporary = disk.draft(self.path)
        folder.mkdir(parents=True, exist_ok=True)
        # A copy: what hangs elsewhere with the old file open may write to that, and does no harm.
        self._file: IO[bytes] = temporary.open("xb")
        self._file.write(data[: past.size] or MAGIC)
        if past.size:
            past.resumed += 1
            self.write("resumed")
        else:
            self.write("head", **head)
        self._file.flush()
        os.replace(temporary, self.path)

    @classmethod
    def open(cls, results: Path, cell_id: str, head: Mapping[str, Any]) -> tuple[Journal, str | None]:
        """The journal of a cell, with what an earlier process left of it; and why that is not used, where it is not.

        head: what must be equal for the numbers to be (`machine`), and what this process begins with.
        """
        folder = Path(results) / running.FOLDER
        path = folder / f"{cell_id}.journal"
        data = path.read_bytes() if path.is_file() else b""
        past, why = read(data), None
        if data and not past.head:
            why = f"{running.FOLDER}/{path.name} is no journal that this zobench can read"
        if past.head and (other := _other(past.head["machine"], head["machine"])):
            why, past = other, Past()
        if not past.head or (head["rerun"] == "always" and past.head["rerun"] != "always"):
            past = Past()
        return cls(folder, cell_id, head, past, data), why

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.cell_id}.journal"

    @property
    def head(self) -> Mapping[str, Any]:
        """What the first process began with; empty for the first."""
        return self.past.head

    def beside(self, name: str) -> Path:
        """Where to keep something large that a frame speaks of: under a name that no other process uses."""
        return self.folder / f"{self.cell_id}.{self.mark}.{name}"

    def write(self, kind: str, payload: bytes = b"", **facts: Any) -> None:
        """Append a frame; it is in the hands of the system when this returns."""
        facts["clock"] = self.seconds + time.monotonic() - self._began
        said = json.dumps({"at": kind, **facts}).encode()
        sizes = struct.pack("<II", len(said), len(payload))
        crc = zlib.crc32(payload, zlib.crc32(said, zlib.crc32(sizes)))
        self._file.write(sizes + struct.pack("<I", crc) + said + payload)
        self._file.flush()
        self._sync()

    def _sync(self) -> None:
        """Wait for the disk now and then."""
        start = time.monotonic()
        if start - self._synced >= self._wait_s:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()
            self._wait_s = max(SYNC_S, (self._synced - start) / SHARE)

    def next_run(self, key: Mapping[str, Any]) -> tuple[int, PastRun | None]:
        """The number of the next training run, and what there is of it; what is no more the same run is dropped."""
        number = self.runs
        self.runs += 1
        known: dict[str, Any] = json.loads(json.dumps(key))
        if number < len(self.past.runs) and self.past.runs[number].key != known:
            del self.past.runs[number:]
            self.write("drop", run=number)
        return number, self.past.runs[number] if number < len(self.past.runs) else None

    def forget(self) -> None:
        """Nothing of an earlier process is used any more: it leads elsewhere here."""
        self.past.runs.clear()
        self.write("drop", run=0)
        self.runs = 0

    def close(self, *, done: bool) -> None:
        """Close it; where the cell is done, remove it and what lies beside it."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
            with contextlib.suppress(OSError):  # of a frame that the disk has no room for: readers end before it
                self._file.close()
        if done:
            running.forget(self.folder, self.cell_id)


def _other(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str | None:
    """What of the machine is another one than the journal's, in words."""
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            return f"it began with {name} {theirs.get(name)}, and here it is {ours.get(name)}"
    return None
