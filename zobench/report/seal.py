"""Checksums: a record's own, and those of the files beside it, so that a change by hand or by a disk is seen.

A record's `sha256` is that of its text without the line that holds it: `grep -v '^ "sha256"' FILE | sha256sum`. It is
no signature: whoever writes records can write it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .record import FileInfo

KEY = "sha256"
_LINE = b'\n "sha256": "'
_DIGITS = 64


def checksum(text: str) -> str:
    """Of a record's text as `store.dumps` writes it, its `sha256` left out."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def holds(data: bytes, value: Mapping[str, Any], dumps: Callable[[Mapping[str, Any]], str]) -> bool:
    """Whether a record's file (its bytes, and what they parse to) is what was sealed, however it is laid out.

    Raises ValueError for values that no record has (numbers that are not finite).
    """
    said = value.get(KEY)
    start = data.find(_LINE)
    end = start + len(_LINE) + _DIGITS
    # As it was written, mostly: then nothing needs to be laid out anew.
    if start >= 0 and data[end : end + 3] == b'",\n' and data[end - _DIGITS : end].decode("latin-1") == said:
        found = hashlib.sha256(data[: start + 1])
        found.update(data[end + 3 :])
        if found.hexdigest() == said:
            return True
    return said == checksum(dumps({key: v for key, v in value.items() if key != KEY}))


def file_info(path: Path) -> FileInfo:
    """Name, size and checksum of a side file. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}


def file_fault(folder: Path, said: FileInfo, *, hashed: bool = True) -> str | None:
    """Why a side file is not what its record says; None if it is. `hashed`: compare the checksum, not the size alone.

    Raises FileNotFoundError if it is not there.
    """
    path = folder / said["name"]
    if path.parent != folder:
        return "not in the folder of its record"
    try:
        size = path.stat().st_size
        if not path.is_file():
            return "not a file"
        if size != said["bytes"]:
            return f"{size} bytes, and its record says {said['bytes']}"
        if hashed and file_info(path)["sha256"] != said["sha256"]:
            return "not what its record says: its SHA-256 differs"
    except FileNotFoundError:
        raise
    except OSError as e:
        return f"cannot be read ({e.strerror})"
    return None


def data_fault(data: bytes, said: FileInfo) -> str | None:
    """As `file_fault`, of what was read."""
    if len(data) != said["bytes"]:
        return f"{len(data)} bytes, and its record says {said['bytes']}"
    if hashlib.sha256(data).hexdigest() != said["sha256"]:
        return "not what its record says: its SHA-256 differs"
    return None
