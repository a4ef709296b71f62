"""A cell's new files beside its old ones, and in their place once they are whole. Light.

The order, at any point of which a process may be killed: side files are written under draft names and synced; they get
their names, which no old record uses unless for the same bytes; the new record takes the old one's place, in one step;
then what only the old record spoke of is removed. So a record that stands always has its files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ZobenchError
from . import disk, packed, seal, store
from .judge import RecordProblem, load, settled
from .record import FileInfo, Record


def drafts(results: Path, cell_id: str) -> store.Files:
    """Where a cell that runs writes its files. Its record has none: it is made at the end."""
    plain, mark = store.files(results, cell_id), secrets.token_hex(4)
    return store.Files(plain.record, *(disk.draft(path, mark) for path in plain.beside))


def yields(old: Record, new: Mapping[str, Any]) -> bool:
    """Whether an old record gives way to a new one: what is good never to what is not, what is settled to what is."""
    if not settled(old):
        return True
    return settled(new) and (old["status"] != "ok" or new["status"] in ("ok", "diverged"))


def put(results: Path, record: Record, written: store.Files) -> bool:
    """Put a record and the drafts of its side files in their places; False where the old record stays instead.

    The record gets its `files`. Raises OSError where that fails (the old record then stands), and ZobenchError where
    the file in its place is a record that may not be replaced.
    """
    place = store.files(results, record["id"])
    try:
        with disk.alone(place.record.parent):
            return _put(results, place, record, written)
    finally:
        for path in written.beside:
            with contextlib.suppress(OSError):
                path.unlink()


def _put(results: Path, place: store.Files, record: Record, written: store.Files) -> bool:
    lying = _checked(load(place.record) if os.path.lexists(place.record) else None)
    old = lying if isinstance(lying, dict) else _checked(packed.find(results, record["id"]))
    if isinstance(old, dict) and not yields(old, record):
        if isinstance(lying, RecordProblem):
            _set_aside(place.record)
            with contextlib.suppress(OSError):  # else it would hide the good one of the pack
                place.record.unlink()
        _keep_error(place, old, written)
        return False
    record["files"] = _name_sides(place, written)
    if isinstance(lying, RecordProblem):
        _set_aside(place.record)
    store.write(results, record)
    _remove_old(place, record)
    return True


def refusal(problem: RecordProblem) -> str | None:
    """Why a cell may not run where this lies in its record's place; None where it may, and this is set aside."""
    if problem.kind == "newer":
        return f"{problem.file}: {problem.why}; {problem.mend}, or name another folder"
    if problem.kind == "unread":
        return f"{problem.file}: {problem.why}; {problem.mend}, or move it out of the folder"
    return None


def _checked(old: Record | RecordProblem | None) -> Record | RecordProblem | None:
    """The same; ZobenchError for what may not be replaced."""
    if isinstance(old, RecordProblem) and (why := refusal(old)) is not None:
        raise ZobenchError(why)
    return old


def _name_sides(place: store.Files, written: store.Files) -> dict[str, FileInfo]:
    """Give the drafts their names; what lies there now, by kind."""
    out: dict[str, FileInfo] = {}
    for kind in store.ENDINGS:
        path: Path = getattr(written, kind)
        if kind != "record" and path.is_file():
            disk.sync_file(path)
            out[kind] = _name(path, getattr(place, kind))
    if out:
        disk.sync_folder(place.record.parent)
    return out


def _name(path: Path, usual: Path) -> FileInfo:
    """Name a draft as usual, unless another file has that name: then with some digits of its checksum."""
    info = seal.file_info(path)
    if os.path.lexists(usual):
        if seal.file_fault(usual.parent, {**info, "name": usual.name}) is None:
            disk.sync_file(usual)
            return {**info, "name": usual.name}  # the same bytes: of an earlier run, or of one beside this
    elif _take(path, usual):
        return {**info, "name": usual.name}
    tail = next(ending for ending in store.ENDINGS.values() if usual.name.endswith(f".{ending}"))
    other = usual.with_name(f"{usual.name.removesuffix(tail)}{info['sha256'][:12]}.{tail}")
    os.replace(path, other)
    return {**info, "name": other.name}


def _take(path: Path, name: Path) -> bool:
    """Give a draft a name that is free; False where another process took it first."""
    try:
        os.link(path, name)
    except FileExistsError:
        return False
    except OSError:  # a system without links
        os.replace(path, name)
    return True


def _set_aside(path: Path) -> None:
    """Keep what is no record under another name, which readers pass over."""
    other = path.with_name(f"{path.name}.{secrets.token_hex(4)}.aside")
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(OSError):
            os.link(path, other)
            return
    os.rename(path, other)


def _keep_error(place: store.Files, old: Record, written: store.Files) -> None:
    """The traceback of a run whose record was not kept, where the old record has none of its own."""
    if written.error.is_file() and "error" not in old.get("files", {}):
        with contextlib.suppress(OSError):
            os.replace(written.error, place.error)


def _remove_old(place: store.Files, new: Record) -> None:
    """Remove what lies beside and the new record does not speak of. A failure costs room, nothing else."""
    kept = {info["name"] for info in new.get("files", {}).values()}
    endings = tuple(f".{ending}" for kind, ending in store.ENDINGS.items() if kind != "record")
    for path in place.record.parent.iterdir():
        if path.name.startswith(f"{new['id']}.") and path.name.endswith(endings) and path.name not in kept:
            with contextlib.suppress(OSError):
                path.unlink()
