"""Several results folders in one: records and side files checked, the same cell from two folders told. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ZobenchError
from . import disk, merging_rest, packed, store, swap
from .judge import settled
from .plain import canonical
from .record import Record

NOT_NUMBERS = frozenset(
    {"time", "memory", "environment", "speed", "files", "resumed", "schema", "retry", "capabilities"}
)
"""What of two records of one cell may differ though both are right: how it was run, and on what."""


@dataclass
class Merged:
    """What was put together."""

    records: int = 0
    by_folder: dict[Path, int] = field(default_factory=dict)
    twice: int = 0
    """Cells that several folders have with the same numbers: that of the first folder was taken."""
    running: list[str] = field(default_factory=list)
    """Cells that a process is running in one of the folders: what it has done so far was not taken."""


def merge(
    folders: Sequence[Path],
    out: Path,
    *,
    prefer: Path | None = None,
    say: Callable[[int, int], None] = lambda i, n: None,
) -> Merged:
    """Put the records of all folders, with their side files, into `out`. If anything is wrong, nothing is written.

    prefer: the folder whose record is taken where two folders have finished records of a cell with different numbers.

    Raises ZobenchError, one line per fault: files that are no record or were changed, side files that are not what the
    record says, such differing numbers (of cells, or of the untouched model), and records of other data or another
    version of a task, which may not stand in one table.
    """
    taken: dict[str, tuple[Path, Record]] = {}
    faults: list[str] = []
    done = Merged(by_folder={folder: 0 for folder in folders})
    if store.is_results(out) and store.survey(out).records:
        raise ZobenchError(f"{out} has records: name a new folder, or give it among those to be merged")
    for folder in folders:
        found = store.survey(folder)
        faults += [f"{folder}: {problem}" for problem in found.problems]
        faults += [f"{folder}: {cell}: cells/ and the pack have other finished records of it" for cell in found.twice]
        faults += [f"{folder}: {problem}" for problem in store.beside(folder, found.records, hash_weights=True)[0]]
        for record in found.records:
            _take(record, folder, taken, faults, done, prefer)
    faults += _kin(taken.values())
    rest = merging_rest.gather(folders, {cell: record for cell, (_, record) in taken.items()}, prefer)
    faults += rest.faults
    if faults:
        raise ZobenchError("\n".join(faults))
    for folder in folders:
        mine = [record for theirs, record in taken.values() if theirs == folder]
        _copy(mine, folder, out, lambda n: say(done.records + n, len(taken)))
        done.by_folder[folder] = len(mine)
        done.records += len(mine)
    rest.put(out)
    done.running = rest.running
    return done


def _take(
    record: Record,
    folder: Path,
    taken: dict[str, tuple[Path, Record]],
    faults: list[str],
    done: Merged,
    prefer: Path | None,
) -> None:
    cell = record["id"]
    if cell not in taken:
        taken[cell] = folder, record
        return
    theirs, other = taken[cell]
    if not (settled(record) and settled(other) and "ok" == record["status"] == other["status"]):
        if swap.yields(other, record) and not swap.yields(record, other):
            taken[cell] = folder, record
        return
    if differs := _numbers(record, other):
        if prefer == folder:
            taken[cell] = folder, record
        elif prefer != theirs:
            faults.append(
                f"{cell}: {theirs} and {folder} have other numbers of it ({', '.join(differs)}): --prefer one of them"
            )
        return
    done.twice += 1


def _numbers(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of the numbers of two records differs."""
    keys = sorted({*one, *other} - NOT_NUMBERS)
    return [key for key in keys if canonical(_number(one, key)) != canonical(_number(other, key))]


def _number(record: Mapping[str, Any], key: str) -> Any:
    """A part of a record; of forward passes without those of its speed, which cells of a task in one process share."""
    value = record.get(key)
    return {k: n for k, n in value.items() if k != "speed"} if key == "forwards" and value is not None else value


def _kin(taken: Any) -> list[str]:
    """Records of one task of one model that are of other data, or other versions of the task."""
    first: dict[str, tuple[Path, Record]] = {}
    out = []
    for folder, record in taken:
        cell: Mapping[str, Any] = {**record["cell"]}
        key = canonical([[cell[k] for k in ("model", "model_revision", "data", "task")], record["protocol"]])
        where, kin = first.setdefault(key, (folder, record))
        if any(cell[k] != dict(kin["cell"])[k] for k in ("task_version", "data_revision")):
            out.append(
                f"{record['id']} of {folder} is of other data, or another version, of task {cell['task']} than "
                f"{kin['id']} of {where}: they may not stand in one table"
            )
    return out


def _copy(records: Sequence[Record], folder: Path, out: Path, say: Callable[[int], None]) -> None:
    """Records of a folder and what lies beside them, byte for byte; a record after its files. Packs are read once."""
    cells, absent = out / store.CELLS, set[str]()
    for path in (path for record in records for path in _beside(folder, record)):
        if path.is_file():
            disk.write_bytes(cells / path.name, path.read_bytes())
        else:
            absent.add(path.name)
    for name, data in packed.sides(folder) if absent else ():
        if name in absent and isinstance(data, bytes):
            disk.write_bytes(cells / name, data)
    pack: packed.Pack | None = None
    for n, record in enumerate(records, start=1):
        lying = store.files(folder, record["id"]).record
        if lying.is_file():
            text = lying.read_bytes()
        else:
            pack = pack or packed.open_pack(folder)
            text = packed.to_text(pack.lines[record["id"]][1])
        disk.write_bytes(cells / lying.name, text)
        say(n)


def _beside(folder: Path, record: Record) -> list[Path]:
    """Where the side files of a record are: those that it names; of an early one, which names none, all that may be."""
    names = {info["name"] for info in record.get("files", {}).values()}
    return [path for path in store.files(folder, record).beside if "files" not in record or path.name in names]
