"""What can be removed from a results folder: leftovers of dead processes, and records of older settings. Light."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path

from . import disk, progress_of_grid, running, store, untouched
from .judge import settled
from .plain import canonical
from .record import Record

_OF_A_CELL = re.compile(r"(?P<cell>.+?-[0-9a-f]{12})\..+")
"""Names in running/ begin with the id of a cell."""


@dataclass
class Rubbish:
    """What may be removed."""

    older: dict[str, str] = field(default_factory=dict)
    """Records, by id: of which later one they are the older."""
    left: dict[Path, str] = field(default_factory=dict)
    """Other files: why they are of no use."""


def find(results: Path) -> Rubbish:
    """What can be removed from a results folder; nothing of a cell that is running. ZobenchError if it is no results
    folder.
    """
    out, folder = Rubbish(), Path(results) / running.FOLDER
    store.check_folder(results)
    records = {record["id"]: record for record in store.read(results)[0]}
    held = running.sure_holders(folder)
    alive = {what for what, one in held.items() if not one.dead}
    out.older = {old: new for old, new in _older(records.values()).items() if old not in alive}
    out.left = _left(running.files(folder), alive, records.get)
    cells = Path(results) / store.CELLS
    if cells.is_dir():
        out.left |= {path: "no record, kept aside by a run" for path in sorted(cells.glob("*.aside"))}
    return out


def sweep(results: Path) -> None:
    """Remove the drafts of dead processes, and what they left in running/ of cells that are done, as every run does.

    Each such cell is claimed for a moment, so that nothing goes of one that another process runs again just now.
    """
    folder = Path(results) / running.FOLDER
    for one in (Path(results), Path(results) / store.CELLS, folder, Path(results) / untouched.FOLDER):
        disk.sweep(one)
    for cell in sorted({_cell_of(path.name) for path in running.files(folder)} - {""}):
        holder = running.holder(folder, cell)
        free = holder is None or (holder.dead and holder.sure)
        if not (free and _done(results, cell)):
            continue
        with contextlib.suppress(OSError):  # the system lets us write nothing there
            claim = running.Claim.take(folder, cell)
            if isinstance(claim, running.Claim):
                if _done(results, cell):
                    running.forget(folder, cell)
                claim.release()


def _done(results: Path, cell: str) -> bool:
    found = store.find(results, cell)
    return isinstance(found, dict) and _over(found)


def _left(lying: Iterable[Path], alive: Set[str], record_of: Callable[[str], Record | None]) -> dict[Path, str]:
    """Of the files in running/ those of dead processes: claims, and what cells had that are done."""
    out: dict[Path, str] = {}
    for path in lying:
        if running.generation(path) is not None:
            if path.name.rpartition(".claim-")[0] not in alive:
                out[path] = "a claim of a process that is dead"
        elif not path.name.endswith(progress_of_grid.ENDING):
            cell = _cell_of(path.name)
            if cell not in alive and (record := record_of(cell)) is not None and _over(record):
                out[path] = "of a cell that is done"
    return out


def _cell_of(name: str) -> str:
    """The cell that a file in running/ is of; empty where it is of none."""
    found = _OF_A_CELL.fullmatch(name)
    return "" if found is None else found["cell"]


def _over(record: Record) -> bool:
    return settled(record) and record["status"] in ("ok", "diverged")


def _older(records: Iterable[Record]) -> dict[str, str]:
    """Of records of one model, task, method, seed and split all but the latest: id -> the latest's."""
    alike: dict[str, list[Record]] = {}
    for record in records:
        cell, split = record["cell"], record["protocol"].get("data_seed")
        names = [cell["model"], cell["data"], cell["task"], cell["estimator"], cell["selector"], cell["seed"], split]
        alike.setdefault(canonical(names), []).append(record)
    out: dict[str, str] = {}
    for several in alike.values():
        *old, new = sorted(several, key=lambda r: (str(r["environment"].get("started")), r["id"]))
        out |= {record["id"]: new["id"] for record in old}
    return out


def remove(results: Path, rubbish: Rubbish) -> tuple[int, list[str]]:
    """Remove it. Returns the number of removed files, and the records that are in a pack and stay."""
    gone, packed = 0, []
    cells = Path(results) / store.CELLS
    for cell in rubbish.older:
        if not store.files(results, cell).record.is_file():
            packed.append(cell)
            continue
        with disk.alone(cells):
            found = store.find(results, cell)
            names = {info["name"] for info in found.get("files", {}).values()} if isinstance(found, dict) else set()
            for path in (store.files(results, cell).record, *(cells / name for name in names)):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    gone += 1
    for path in rubbish.left:
        with contextlib.suppress(OSError):
            path.unlink()
            gone += 1
    with contextlib.suppress(OSError):
        (Path(results) / running.FOLDER).rmdir()
    return gone, packed
