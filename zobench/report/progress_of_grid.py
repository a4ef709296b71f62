"""Progress of the cells of a results folder: done, running where, failed, left, and the time to go. Light.

A run writes its plan to `DIR/running/<hash>.planned` when it begins and removes it when all of it is done. Claims say
which process runs what (running.py), records what is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from . import disk, running, store
from .judge import settled
from .record import Record

ENDING = ".planned"


@dataclass
class GridProgress:
    """The cells of a folder by what became of them; each by its id."""

    done: dict[str, Record] = field(default_factory=dict)
    failed: dict[str, Record] = field(default_factory=dict)
    """Those that came to another end than `ok`, and stay so until `--rerun failed`."""
    running: dict[str, running.Holder] = field(default_factory=dict)
    left: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Planned, and neither done, failed nor running: new ones, and those that were interrupted."""
    begun: set[str] = field(default_factory=set)
    """Of those that are left: a process began them, and another will go on where it was."""
    to_go_s: float | None = None
    """Seconds until nothing is left, at the pace of the cells that are done; None where none is."""


def plan(results: Path, cells: Iterable[Mapping[str, Any]]) -> None:
    """Write the plan of a run: id and names of each cell. Nothing is written for no cells."""
    names = ("id", "task", "estimator", "selector", "seed")
    listed = sorted(({name: cell[name] for name in names} for cell in cells), key=lambda cell: str(cell["id"]))
    if listed:
        text = json.dumps({"cells": listed})
        name = hashlib.blake2b(text.encode(), digest_size=6).hexdigest() + ENDING
        disk.write_text(Path(results) / running.FOLDER / name, text)


def settle(results: Path) -> None:
    """Remove the plans of which all is done."""
    folder = Path(results) / running.FOLDER
    for path, cells in _plans(folder):
        if all(_settled(store.find(results, cell)) for cell in cells):
            with contextlib.suppress(OSError):
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def _settled(record: object) -> bool:
    return isinstance(record, dict) and settled(record)


def _plans(folder: Path) -> list[tuple[Path, dict[str, Mapping[str, Any]]]]:
    """The plans in a folder: of each the cells by their ids."""
    out = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(folder.iterdir()):
            if path.name.endswith(ENDING):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    out.append((path, {str(cell["id"]): cell for cell in json.loads(path.read_text())["cells"]}))
    return out


def look(results: Path) -> GridProgress:
    """Progress of the cells of a results folder. ZobenchError if it is no results folder."""
    out, folder = GridProgress(), Path(results) / running.FOLDER
    if not folder.is_dir():
        store.check_folder(results)
    records = {r["id"]: r for r in store.read(results)[0]} if store.is_results(results) else {}
    held = running.holders(folder)
    out.running = {what: one for what, one in held.items() if not one.dead}
    planned = {cell: facts for _, cells in _plans(folder) for cell, facts in cells.items()}
    for cell, record in records.items():
        if cell not in out.running and settled(record):
            (out.done if record["status"] == "ok" else out.failed)[cell] = record
        elif cell not in out.running:
            planned.setdefault(cell, {"id": cell, **record["cell"]})
    ended = {*out.done, *out.failed, *out.running}
    out.left = {cell: facts for cell, facts in planned.items() if cell not in ended}
    out.begun = {cell for cell in out.left if (folder / f"{cell}.journal").is_file()}
    out.to_go_s = _to_go(out, planned)
    return out


def _to_go(found: GridProgress, planned: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Each cell as long as those of its names that are done, all processes that run now at work on what is left."""
    taken: dict[tuple[str, ...], list[float]] = {}
    for record in found.done.values():
        if (seconds := record["time"].get("total_s")) is not None:
            for names in _alike(record["cell"]):
                taken.setdefault(names, []).append(seconds)
    if not taken:
        return None
    to_go = 0.0
    for cell in (*found.left, *found.running):
        names = next((n for n in _alike(planned.get(cell, {})) if n in taken), ())
        to_go += fmean(taken[names])
    return to_go / max(1, len(found.running))


def _alike(cell: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What a cell may have in common with others that take as long, the closest first; all have the last in common."""
    task, estimator, selector = (str(cell.get(key)) for key in ("task", "estimator", "selector"))
    return [(task, estimator, selector), (task, estimator), (estimator, selector), (task,), (estimator,), ()]
