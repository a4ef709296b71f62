"""Paths that the user named: what lies there, and whether it may be read or written, said before any work is done.

Only files and folders are opened: a pipe would wait for ever, and a device be replaced by a file. Light.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .errors import ZobenchError

_LONGEST = 200  # bytes of a file's name in a folder of the user's: with the ending of a temporary one it is below 255


def look(path: Path, said: str) -> os.stat_result | None:
    """What lies at a path, links followed; None for nothing. ZobenchError where that cannot be asked.

    said: how the user named it, for the error: `--out`, `the plugin file`.
    """
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise ZobenchError(f"{said} {path}: {e.strerror}") from None
    except ValueError as e:  # a null byte, or a letter that the system's encoding lacks
        raise ZobenchError(f"{said} {str(path)!r}: no path: {e}") from None


def is_folder(path: Path, said: str) -> bool:
    """Whether a folder lies there. Errors as those of `look`."""
    there = look(path, said)
    return there is not None and stat.S_ISDIR(there.st_mode)


def is_file(path: Path, said: str) -> bool:
    """Whether a file lies there. ZobenchError as `look`, and for a pipe, a device or a socket, which are not opened."""
    there = look(path, said)
    if there is None or stat.S_ISDIR(there.st_mode):
        return False
    if not stat.S_ISREG(there.st_mode):
        raise ZobenchError(f"{said} {path}: {_kind(there)}, no file")
    return True


def read(path: Path, said: str) -> bytes:
    """The bytes of a file. ZobenchError where there is none, or it cannot be read."""
    if not is_file(path, said):
        raise ZobenchError(f"{said} {path}: " + ("a folder, no file" if look(path, said) else "no such file"))
    try:
        return path.read_bytes()
    except OSError as e:
        raise ZobenchError(f"{said} {path}: cannot be read: {e.strerror}") from None


def check_writable(path: Path, said: str) -> None:
    """ZobenchError unless a file may be written, or written anew, at this path. Makes nothing."""
    there, folder = look(path, said), path.parent
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise ZobenchError(f"{said} {path}: cannot be written: {_kind(there)} lies there; name a file")
    if len(os.fsencode(path.name)) > _LONGEST:
        raise ZobenchError(f"{said} {path}: cannot be written: its name is too long; give it at most {_LONGEST} bytes")
    if not is_folder(folder, said):
        raise ZobenchError(f"{said} {path}: cannot be written; name a file in a folder that is there")
    if not os.access(folder, os.W_OK | os.X_OK) or (there is not None and not os.access(path, os.W_OK)):
        raise ZobenchError(f"{said} {path}: cannot be written: permission denied; name another file")


def check_becomes_folder(path: Path, said: str) -> None:
    """ZobenchError where this cannot be, or become, a folder that takes files. Makes nothing."""
    there = path.absolute()
    missing: list[str] = []
    while look(there, said) is None and there != there.parent:
        missing.append(there.name)
        there = there.parent
    if not is_folder(there, said):
        raise ZobenchError(f"{said} {path}: {there} is a file; name a folder")
    if any(len(os.fsencode(name)) > _LONGEST for name in missing):
        raise ZobenchError(f"{said} {path}: a name in it is too long; give each at most {_LONGEST} bytes")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ZobenchError(f"{said} {path}: {there} cannot be written to; name another folder")


def _kind(there: os.stat_result) -> str:
    """What it is, in words."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((words for is_one, words in kinds if is_one(there.st_mode)), "a device")
