"""What can be removed from a results folder: leftovers of dead processes, and records of older settings. Light."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import disk, progress_of_grid, running, store
from .judge import settled
from .plain import canonical
from .record import Record


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
    held = running.holders(folder)
    alive = {what for what, one in held.items() if not one.dead}
    out.older = {old: new for old, new in _older(records.values()).items() if old not in alive}
    for path in running.files(folder):
        if running.generation(path) is not None:
            if path.name.rpartition(".claim-")[0] not in alive:
                out.left[path] = "a claim of a process that is dead"
        elif not path.name.endswith(progress_of_grid.ENDING):
            cell = next((one for one in records if path.name.startswith(f"{one}.")), None)
            if cell is not None and cell not in alive and _over(records[cell]):
                out.left[path] = "of a cell that is done"
    cells = Path(results) / store.CELLS
    if cells.is_dir():
        out.left |= {path: "no record, kept aside by a run" for path in sorted(cells.glob("*.aside"))}
    return out


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
