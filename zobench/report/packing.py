"""Put the records of a results folder into its pack, and take them out; nothing is removed before it is read back.

The bytes of a pack are a function of what is in it (and of the xz library): records by id, side files by name, in their
one layout. Light.
"""

from __future__ import annotations

import contextlib
import lzma
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ZobenchError
from . import disk, packed, seal, store
from .judge import CELLS, LARGEST, RecordProblem, load, settled
from .plain import dumps
from .record import SEALED, Record

WITH = ("steps", "replay", "error")
"""Kinds of side files that a pack may hold; weights do not become smaller."""

_WAIT_S = 600.0


@dataclass
class Done:
    """What was done."""

    records: int = 0  # in the pack, or taken out of it
    sides: int = 0
    sizes: dict[str, int] = field(default_factory=dict)  # of the files of the pack
    removed: int = 0
    left: list[str] = field(default_factory=list)  # asked to be removed, and changed since it was packed
    problems: list[RecordProblem] = field(default_factory=list)  # in cells/: not packed, not removed


def pack(results: Path, *, kinds: Collection[str] = (), remove: bool = False, replace: bool = False) -> Done:
    """Put every record in cells/ (and the side files of these `kinds`) into the pack, beside what it holds already.

    remove: then remove from cells/ what the pack holds, byte for byte. replace: where both have a finished record of a
    cell and they differ, that of cells/ takes the place of the other; else this is a ZobenchError, as is a pack that
    cannot be read to its end.
    """
    with _one_packer(results):
        old = _sound(results)
        _judged(old)
        loose, problems = store.loose_records(results / CELLS)
        done = Done(problems=problems)
        lines = {cell_id: line for cell_id, (_, line) in old.lines.items()}
        new = {cell_id: packed.to_line(_text(record)) for cell_id, record in loose.items()}
        _check_twice(results, old, new, replace=replace)
        lines |= new
        if not lines:
            raise ZobenchError(f"no record in {results / CELLS} to pack" + (f": {problems[0]}" if problems else ""))
        done.records = len(lines)
        done.sizes[packed.RECORDS] = _write(results / packed.RECORDS, [lines[i] for i in sorted(lines)])
        back = _sound(results)
        records = _judged(back)
        if {cell_id: line for cell_id, (_, line) in back.lines.items()} != lines:
            raise ZobenchError(f"{results / packed.RECORDS}: what was written is not what is read; nothing was removed")
        held = _pack_sides(results, records, kinds, done)
        if remove:
            names = {f"{cell_id}.json": record for cell_id, record in loose.items()}
            _remove(results, names, held, done)
        return done


def unpack(results: Path, *, remove: bool = False) -> Done:
    """Write what the pack holds into cells/, where it is not there; with `remove`, then remove the pack.

    Raises ZobenchError for a pack that cannot be read to its end, and with `remove` where cells/ has another record.
    """
    with _one_packer(results):
        found = _sound(results)
        if not found.lines:
            raise ZobenchError(f"no {packed.RECORDS} in {results}")
        records, done, folder = _judged(found), Done(), results / CELLS
        names = _side_names(results, records.values())
        contents = {f"{i}.json": packed.to_text(line) for i, (_, line) in found.lines.items()}
        contents |= {name: data for name, data in _sides(results).items() if name in names}
        if odd := next((name for name in contents if not _plain_name(name)), None):
            raise ZobenchError(f"{results / packed.RECORDS}: {odd!r:.80} is no name of a file of a cell")
        other = []
        with _locked(folder):
            for name, data in contents.items():
                if not os.path.lexists(folder / name):
                    disk.write_bytes(folder / name, data)
                    done.sides, done.records = done.sides + (name in names), done.records + (name not in names)
                elif not _is(folder / name, data):
                    other.append(name)
        if remove:
            if other:
                raise ZobenchError(f"{CELLS}/{other[0]} is not what the pack holds; the pack stays: remove one of them")
            for path in (results / packed.RECORDS, results / packed.SIDES):
                path.unlink(missing_ok=True)
        done.left = other
        return done


def _text(record: Record) -> bytes:
    """The one text of a record, its checksum in it where its schema has one."""
    text = dumps(record)
    if record["schema"] >= SEALED:
        text = dumps({**record, seal.KEY: seal.checksum(text)})
    return text.encode("utf-8", "backslashreplace")


def _sound(results: Path) -> packed.Pack:
    """The pack as it is. ZobenchError for one with lines that would be lost if it were written anew."""
    store.check_folder(results)
    found = packed.open_pack(results)
    if found.problems:
        raise ZobenchError(f"{results}: {found.problems[0]}; or move the pack out of the folder")
    return found


def _judged(found: packed.Pack) -> dict[str, Record]:
    records = {}
    for cell_id in found.lines:
        record = found.record(cell_id)
        if isinstance(record, RecordProblem):
            raise ZobenchError(f"{record}; nothing was removed")
        records[cell_id] = record
    return records


def _check_twice(results: Path, old: packed.Pack, new: Mapping[str, bytes], *, replace: bool) -> None:
    """ZobenchError where a finished record of the pack would give way to another, unless that is asked for."""
    differ = []
    for cell_id, line in new.items():
        if cell_id in old.lines and old.lines[cell_id][1] != line:
            before = old.record(cell_id)
            if isinstance(before, RecordProblem):
                raise ZobenchError(f"{results}: {before}")
            if settled(before) and packed.to_line(_text(before)) != line:
                differ.append(cell_id)
    if differ and not replace:
        more = f" and {len(differ) - 1} more" if len(differ) > 1 else ""
        raise ZobenchError(
            f"{results}: the pack has another finished record of {differ[0]}{more} than {CELLS}/: "
            f"--replace takes that of {CELLS}/; or remove it there"
        )


def _write(path: Path, lines: list[bytes]) -> int:
    """Write a pack, whole or not at all; its size. ZobenchError for more than is read."""
    text = b"".join(line + b"\n" for line in lines)
    if len(text) > packed.MOST_BYTES or len(lines) > packed.MOST_LINES or max(map(len, lines)) > LARGEST:
        raise ZobenchError(
            f"{path}: {len(lines)} lines of {len(text)} bytes are more than a pack may hold: put fewer in a folder"
        )
    data = lzma.compress(text, preset=6 | lzma.PRESET_EXTREME)
    if not _is(path, data):
        try:
            disk.write_bytes(path, data)
        except OSError as e:
            raise ZobenchError(f"cannot write {path} ({e.strerror}); nothing was removed") from e
    return len(data)


def _side_names(results: Path, records: Collection[Record]) -> dict[str, tuple[str, Record]]:
    """The side files that records have, or may have: name -> kind, record."""
    out: dict[str, tuple[str, Record]] = {}
    for record in records:
        if "files" in record:
            out |= {said["name"]: (kind, record) for kind, said in record["files"].items()}
        else:
            out |= {path.name: (kind, record) for kind, path in vars(store.files(results, record["id"])).items()}
    return {name: of for name, of in out.items() if of[0] in store.ENDINGS and of[0] != "record" and _plain_name(name)}


def _pack_sides(results: Path, records: Mapping[str, Record], kinds: Collection[str], done: Done) -> dict[str, bytes]:
    """Put side files into their pack; all that it holds then. One that is not what its record says is left out."""
    before = _sides(results)
    if not kinds and not before:
        return {}
    held = dict(before)
    for name, (kind, record) in _side_names(results, records.values()).items():
        if kind not in kinds or not (results / CELLS / name).is_file():
            continue
        said = record.get("files", {}).get(kind)
        why = None if said is None else seal.file_fault(results / CELLS, said)
        if why is not None:
            done.problems.append(RecordProblem(f"{CELLS}/{name}", why, "put the file of before back", "beside"))
            continue
        held[name] = (results / CELLS / name).read_bytes()
    done.sides = len(held)
    if held:
        done.sizes[packed.SIDES] = _write(
            results / packed.SIDES, [packed.side_line(name, held[name]) for name in sorted(held)]
        )
        if _sides(results) != held:
            raise ZobenchError(f"{results / packed.SIDES}: what was written is not what is read; nothing was removed")
    return held


def _sides(results: Path) -> dict[str, bytes]:
    """All side files of the pack. ZobenchError where a line holds none."""
    out: dict[str, bytes] = {}
    for name, data in packed.sides(results):
        if isinstance(data, RecordProblem):
            raise ZobenchError(f"{results}: {data}; or move it out of the folder")
        out[name] = data
    return out


def _remove(results: Path, names: Mapping[str, Record], sides: Mapping[str, bytes], done: Done) -> None:
    """Remove from cells/ the records and side files that are, now, what the pack holds."""
    folder = results / CELLS
    with _locked(folder):
        for name, record in names.items():
            again = load(folder / name) if os.path.lexists(folder / name) else None
            if isinstance(again, dict) and _text(again) == _text(record):
                (folder / name).unlink()
                done.removed += 1
            elif again is not None:
                done.left.append(name)
        for name, data in sides.items():
            if _plain_name(name) and _is(folder / name, data):
                (folder / name).unlink()
                done.removed += 1


def _is(path: Path, data: bytes) -> bool:
    """Whether a file holds just this."""
    try:
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
    except OSError:
        return False


def _plain_name(name: str) -> bool:
    return Path(name).name == name and "\\" not in name and "\0" not in name and not name.startswith(".")


@contextlib.contextmanager
def _one_packer(results: Path) -> Iterator[None]:
    store.check_folder(results)
    with disk.alone(results, _WAIT_S):
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep runs from putting records while some are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with disk.alone(folder):
        yield
