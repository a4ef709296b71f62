"""Files that are written completely or not at all, and removal of drafts of writers that were killed. Light.

A draft has a hidden name with the machine and the process in it, so that no two writers share one, and the next run can
tell which drafts are left by dead processes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import ZobenchError
from . import processes

OLD_S = 7 * 24 * 3600.0
"""Seconds after which a draft is nobody's, whoever began it: a cell writes to its own every few minutes or hours."""

_DRAFT = re.compile(r"\..*\.draft-(?P<host>[0-9a-f]{8})-(?P<pid>[0-9]+)(?:b(?P<born>[0-9]+))?-[0-9a-f]{8}\..+")
_EARLIER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""The names of drafts of earlier versions."""


def draft(path: Path, mark: str | None = None) -> Path:
    """Where to write what shall lie at `path`: in its folder, under a name of this process's own."""
    short = hashlib.blake2b(os.fsencode(path.name), digest_size=6).hexdigest()  # a name as long as may be takes no more
    ending = ".".join(path.name.split(".")[-2:])[-24:]
    who = f"{os.getpid()}b{born}" if (born := processes.born_here()) else f"{os.getpid()}"
    return path.with_name(f".{short}.draft-{machine()}-{who}-{mark or secrets.token_hex(4)}.{ending}")


@contextlib.contextmanager
def writing(results: Path, what: str) -> Iterator[None]:
    """Inside, `what` is written into a results folder. ZobenchError, one line, for what the system refuses of it."""
    try:
        yield
    except OSError as e:
        raise ZobenchError(
            f"--results {results}: {what} cannot be written: {e.strerror or e}; mend that, and the same command goes "
            "on with what is not done"
        ) from e


def write_text(path: Path, text: str) -> None:
    """Put `text` (as UTF-8) at `path`: either all of it, or, on any failure, nothing."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))  # half letters, which JSON may have, written out


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, of bytes."""
    # named so that no reader of records or boards takes the draft for one
    with replacing(path, draft(path.with_name(f"{path.name}.tmp"))) as f:
        f.write(content)
    sync_folder(path.parent)


@contextlib.contextmanager
def replacing(path: Path, temporary: Path) -> Iterator[IO[bytes]]:
    """A new file to write to, which takes the place of `path` when all of it is on the disk; gone where that fails."""
    try:
        with _made(temporary) as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _made(path: Path) -> IO[bytes]:
    """A new file, open, in its folder; another process may remove an empty folder at the moment that it is made."""
    for _ in range(9):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return open(path, "xb")
    return open(path, "xb")


def sync_file(path: Path) -> None:
    """Flush a file to the disk, so that it survives a crash of the machine."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the new name last through a crash; a system whose folders cannot be opened (Windows) does so itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def alone(folder: Path, wait_s: float = 30.0) -> Iterator[None]:
    """Hold a lock on a folder for a moment, against other processes of this machine that do likewise.

    If the system has no such locks, or one is held for longer than `wait_s`, it goes on without.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + wait_s
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        os.close(handle)  # which gives the lock back


def sweep(folder: Path) -> list[str]:
    """Remove the drafts of processes that are dead, and those that are old; the names of those removed."""
    gone = []
    for path in folder.glob(".*"):
        if _left_behind(path):
            with contextlib.suppress(OSError):  # another sweeper's, or not ours to remove
                path.unlink()
                gone.append(path.name)
    return sorted(gone)


def _left_behind(path: Path) -> bool:
    found, earlier = _DRAFT.fullmatch(path.name), _EARLIER.fullmatch(path.name)
    if found is None and earlier is None:
        return False
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:
        return False
    if found is not None and found["host"] == machine() and not processes.alive(int(found["pid"]), found["born"]):
        return True
    return age > (OLD_S if found is not None else 3600.0)


def mark_of_this_process() -> str:
    """A line that tells this process from all others, for `ended`."""
    return f"{machine()} {os.getpid()} {processes.born_here()}"


def ended(mark: str) -> bool:
    """Whether the process that made the mark has ended; False where that cannot be known: it is another machine's."""
    host, pid, since = [*mark.split(), "", "", ""][:3]
    return host == machine() and pid.isdigit() and not processes.alive(int(pid), None if since == "None" else since)


@functools.cache
def machine() -> str:
    """Eight digits that identify this machine since its last start, and its process namespace (a container has its
    own). Process numbers mean nothing elsewhere.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        since = boot.read_text().strip()
    except OSError:
        since = ""
    with contextlib.suppress(OSError):
        since += os.readlink("/proc/self/ns/pid")
    return hashlib.blake2b(f"{platform.node()} {since}".encode(), digest_size=4).hexdigest()
