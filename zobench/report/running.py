"""Who runs which cell: claims in DIR/running, so that many processes and machines may share a results folder. Light.

A claim is a file `<what>.claim-<n>`, made so that of all that try one succeeds, on network file systems too. Its
holder writes to it every few seconds. How long ago is told by the file server's clock, as those of the machines may be
apart; and as some systems stamp files by the clock of who writes, whoever would follow another machine's holder first
watches, by its own clock, for `CONFIRM_S` that nothing is written. A holder that is dead (of this machine: at once; of
another: when it was silent for `STALE_S`, by the server or since it is watched) is followed by a claim n + 1, which
again one process alone can make. A holder that only slept finds it, and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import disk, processes

FOLDER = "running"
BEAT_S = 10.0
"""Seconds between two signs of life of a holder."""
STALE_S = 120.0
"""Seconds without one after which a holder on another machine counts as dead."""
CONFIRM_S = 2.5 * BEAT_S
"""Seconds that a holder on another machine is watched before it is followed."""
LOOK_S = 0.5
"""Seconds between two looks at one that is watched."""
ROOM = 2048
"""Bytes of a claim: always as many, so that none is read while it grows."""
_CLAIM = re.compile(r"(?P<what>.+)\.claim-(?P<n>[0-9]+)")


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim, as its file describes it."""

    path: Path
    facts: Mapping[str, Any]
    silent_s: float
    """Since its last sign of life, by the file server's clock."""
    dead: bool
    sure: bool = True
    """False: it counts as dead by clocks that may be apart, and was not watched for long enough."""

    @property
    def n(self) -> int:
        """The number of its claim."""
        n = generation(self.path)
        assert n is not None
        return n

    def __str__(self) -> str:
        return f"{self.facts.get('host', 'an unknown machine')} (process {self.facts.get('pid', '?')})"


def generation(path: Path) -> int | None:
    """The number of a claim; None for a file that is none."""
    found = _CLAIM.fullmatch(path.name)
    return None if found is None else int(found["n"])


def files(folder: Path) -> list[Path]:
    """The files of all cells that run, or did; drafts are left out."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return []


def of_cell(folder: Path, what: str) -> list[Path]:
    """The files of a cell that runs, or did."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if path.name.startswith(f"{what}."))
    return []


def forget(folder: Path, what: str) -> None:
    """Remove what lies there of a cell; claims stay."""
    for path in of_cell(folder, what):
        if generation(path) is None:
            with contextlib.suppress(OSError):
                path.unlink()


def holder(folder: Path, what: str) -> Holder | None:
    """Who holds the latest claim on a cell, dead or alive; None where there is none."""
    claims = [path for path in of_cell(folder, what) if generation(path) is not None]
    for path in sorted(claims, key=lambda path: generation(path) or 0, reverse=True):
        found = _look(path)
        if found is not None:
            return found
    return None


def holders(folder: Path) -> dict[str, Holder]:
    """All that is claimed, by what: the latest claim on each."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = {found["what"] for path in folder.iterdir() if (found := _CLAIM.fullmatch(path.name))}
        return {what: one for what in sorted(names) if (one := holder(folder, what)) is not None}
    return {}


def sure_holders(folder: Path) -> dict[str, Holder]:
    """As `holders`, where those of other machines that seem dead were watched for long enough to be sure."""
    while True:
        found = holders(folder)
        if all(one.sure or not one.dead for one in found.values()):
            return found
        time.sleep(LOOK_S)


def _look(path: Path) -> Holder | None:
    try:
        with path.open("rb") as f:  # opened, so that a network file system asks its server
            text, mtime = f.read(ROOM), os.fstat(f.fileno()).st_mtime
    except OSError:
        return None
    facts: Any = {}
    with contextlib.suppress(ValueError, RecursionError):
        facts = json.loads(text)
    if not isinstance(facts, dict):
        facts = {}
    silent = _now(path.parent) - mtime
    if facts.get("machine") == disk.machine() and type(facts.get("pid")) is int:
        return Holder(path, facts, max(0.0, silent), not processes.alive(facts["pid"], facts.get("born")))
    watched, lived = _watched(path, (mtime, text))
    dead = (watched if lived else max(silent, watched)) > STALE_S
    return Holder(path, facts, max(0.0, silent), dead, lived or watched >= CONFIRM_S)


_SEEN: dict[Path, tuple[tuple[float, bytes], float, bool]] = {}
"""Claims of other machines that this process looked at: what it saw last, since when by its own clock, and whether it
saw a sign of life.
"""


def _watched(path: Path, now: tuple[float, bytes]) -> tuple[float, bool]:
    """Seconds since this process first saw a claim as it is now, and whether it saw it change."""
    at = time.monotonic()
    before, since, lived = _SEEN.get(path, (now, at, False))
    if before != now:
        since, lived = at, True
    _SEEN[path] = now, since, lived
    return at - since, lived


def _now(folder: Path) -> float:
    """The present time by the clock of the file server; by our own where nothing can be written there."""
    probe = disk.draft(folder / "clock")
    try:
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except OSError:
        return time.time()
    try:
        os.write(handle, b".")
        os.fsync(handle)
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            probe.unlink()


class Claim:
    """A claim that this process holds, from `take` to `release`; a thread gives its signs of life.

    `facts` (progress) may be set at any time, and are written with the next one. `lost`: another process followed.
    """

    def __init__(self, path: Path, handle: int, what: str) -> None:
        self.path, self.what, self.lost = path, what, False
        self.facts: dict[str, Any] = {}
        self._handle, self._over, self._own = handle, threading.Event(), _own_facts()
        self._inode = os.fstat(handle).st_ino
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"claim {what}", daemon=True)

    @classmethod
    def take(cls, folder: Path, what: str) -> Claim | Holder:
        """The claim, if nobody alive holds it; else who does. Raises OSError where the folder cannot be written to."""
        while True:
            other = holder(folder, what)
            if other is not None and not other.dead:
                return other
            if other is not None and not other.sure:
                time.sleep(LOOK_S)
                continue
            n = 0 if other is None else other.n + 1
            path = folder / f"{what}.claim-{n}"
            handle = _made(path)
            if handle is None:
                continue  # another was first: see who
            claim = cls(path, handle, what)
            for older in of_cell(folder, what):
                if (m := generation(older)) is not None and m < n:
                    with contextlib.suppress(OSError):
                        older.unlink()
            claim._thread.start()
            return claim

    def still_ours(self) -> bool:
        """Whether no other process has taken it over. Asks the file system."""
        if self.lost:
            return False
        try:
            mine = os.stat(self.path).st_ino == self._inode or os.name == "nt"
        except FileNotFoundError:
            mine = False
        except OSError:  # the server is away: nobody else can take it either
            return True
        n = generation(self.path) or 0
        later = any((m := generation(p)) is not None and m > n for p in of_cell(self.path.parent, self.what))
        self.lost = not mine or later
        return not self.lost

    def tell(self) -> None:
        """Write a sign of life, with the present facts."""
        with self._lock, contextlib.suppress(OSError):  # a full disk, a server that is away: the next one may do
            if self._over.is_set():  # the number of the file may be another's by now
                return
            _write(self._handle, {**self._own, **self.facts})

    def release(self) -> None:
        """Give the claim up. May be called twice."""
        if self._over.is_set():
            return
        self._over.set()
        with self._lock:
            os.close(self._handle)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        if not self.lost:
            with contextlib.suppress(OSError):
                self.path.unlink()
            with contextlib.suppress(OSError):  # where others have something in it
                self.path.parent.rmdir()

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            if self.still_ours() and not self._over.is_set():
                self.tell()


def _own_facts() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "machine": disk.machine(),
        "pid": os.getpid(),
        "born": processes.born_here(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _made(path: Path) -> int | None:
    """A new file with our name in it, open; None where there is one. It is whole when it gets its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = disk.draft(path)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(draft, flags)
    except FileNotFoundError:  # the folder was removed just now, as nothing was in it
        return None
    try:
        _write(handle, _own_facts())
        try:
            if os.name == "nt":  # where no name of an open file is removed
                raise OSError
            os.link(draft, path)
        except OSError as e:
            # On a network file system the answer to a link that was made may be lost, and the second try refused.
            if os.fstat(handle).st_nlink == 2:
                return handle
            if isinstance(e, FileExistsError):
                os.close(handle)
                return None
            other = os.open(path, flags)  # a system without links
            os.close(handle)
            _write(other, _own_facts())
            return other
        return handle
    except FileExistsError:
        os.close(handle)
        return None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _write(handle: int, facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts).encode()[: ROOM - 1]
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, text.ljust(ROOM - 1) + b"\n")
    os.fsync(handle)
