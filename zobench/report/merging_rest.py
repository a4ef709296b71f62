"""What lies in results folders beside records and their files, brought together with them: scores of the untouched
model, tasks of the user's own data, cells that were begun, plans, and the options of the runs. Light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import disk, options_kept, progress_of_grid, running, untouched
from .judge import settled
from .plain import canonical
from .record import Record

OWN_DATA = "data"
"""Where `zobench run --data` puts the task that it makes of a table."""
DONE = ("ok", "diverged")


@dataclass
class Rest:
    """What is to be written into the new folder."""

    files: dict[Path, Path] = field(default_factory=dict)
    """By where they go, relative to the folder: which file."""
    options: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    def put(self, out: Path) -> None:
        """Write all of it, byte for byte but for the results folder that options name."""
        for name, path in self.files.items():
            disk.write_bytes(out / name, path.read_bytes())
        for text in self.options:
            options_kept.keep(out, options_kept.moved(text, out))
        progress_of_grid.settle(out)

    def take(self, name: Path, folder: Path, path: Path, prefer: Path | None, *, what: str, same: bool) -> None:
        """A file of a folder. Where an earlier folder has another of this name, one is preferred, or it is a fault."""
        if name not in self.files:
            self.files[name] = path
        elif not same and prefer == folder:
            self.files[name] = path
        elif not same and (prefer is None or not self.files[name].is_relative_to(prefer)):
            self.faults.append(f"{name}: {self.files[name]} and {path} are {what}: --prefer one of the folders")


def gather(folders: Sequence[Path], taken: Mapping[str, Record], prefer: Path | None) -> Rest:
    """What the folders hold beside records. taken: the records of the new folder, by id.

    Raises nothing: what may not be brought together is in `faults`.
    """
    rest = Rest()
    for folder in folders:
        _scores(rest, folder, prefer)
        _own_data(rest, folder, prefer)
    _begun(rest, folders, taken)
    meanings: list[object] = []
    for folder in folders:
        for path in options_kept.kept(folder):
            text = path.read_text(encoding="utf-8", errors="replace")
            if (meaning := options_kept.meaning(text)) not in meanings:
                meanings.append(meaning)
                rest.options.append(text)
    return rest


def _scores(rest: Rest, folder: Path, prefer: Path | None) -> None:
    for path in _files((folder / untouched.FOLDER).glob("*.json")):
        said, name = untouched.read(path), path.relative_to(folder)
        if said is None:
            rest.faults.append(f"{path}: no whole score of the untouched model; delete it, and a run takes it anew")
            continue
        before = untouched.read(rest.files[name]) if name in rest.files else None
        same = before is not None and canonical(before["score"]) == canonical(said["score"])
        rest.take(name, folder, path, prefer, what="other scores of one untouched model", same=same)


def _own_data(rest: Rest, folder: Path, prefer: Path | None) -> None:
    for path in _files((folder / OWN_DATA).rglob("*")):
        name = path.relative_to(folder)
        same = name in rest.files and rest.files[name].read_bytes() == path.read_bytes()
        rest.take(name, folder, path, prefer, what="other data, or another task made of it", same=same)


def _begun(rest: Rest, folders: Sequence[Path], taken: Mapping[str, Record]) -> None:
    """Plans; and of the cells that are not done and that no process runs what is written down, the longest of each."""
    longest: dict[str, Path] = {}
    for folder in folders:
        held = running.holders(folder / running.FOLDER)
        alive = {cell for cell, one in held.items() if not one.dead}
        rest.running += sorted(alive - set(rest.running))
        for path in running.files(folder / running.FOLDER):
            cell = path.name.removesuffix(".journal")
            if path.name.endswith(progress_of_grid.ENDING):
                rest.files.setdefault(path.relative_to(folder), path)
            elif cell != path.name and cell not in alive and not (cell in taken and _done(taken[cell])):
                before = longest.get(cell)
                if before is None or before.stat().st_size < path.stat().st_size:
                    longest[cell] = path
    for cell, journal in longest.items():
        for path in running.of_cell(journal.parent, cell):
            if running.generation(path) is None:
                rest.files[path.relative_to(journal.parents[1])] = path


def _done(record: Record) -> bool:
    return settled(record) and record["status"] in DONE


def _files(found: Iterable[Path]) -> list[Path]:
    """Those that are files and no drafts."""
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))
