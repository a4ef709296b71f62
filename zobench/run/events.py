"""What other processes tell of the cells they run, as lines of files beside the records: for one display of all.

A process that runs cells appends to `DIR/.live/<run>/<host>-<process>.jsonl`; whoever started the run reads the files
as they grow, shows them, and calls the observers. Nothing of it is needed for the records.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import disk
from ..report.summary import summarise
from .progress import Progress, TrainingWatch

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.record import Record
    from .artefacts import Artefacts

LIVE = ".live"
OWNER = "owner"
"""The file that says which process started the run."""
EVERY_S = 0.25
"""Seconds between two tellings of how far a cell is, and between two looks at the files."""


def folder(results: Path, run: str) -> Path:
    """Where the processes of a run tell."""
    return results / LIVE / run


def begin(live: Path) -> None:
    """Make the folder of a run that this process has started. Raises OSError."""
    live.mkdir(parents=True, exist_ok=True)
    (live / OWNER).write_text(disk.mark_of_this_process(), encoding="utf-8")


def sweep(results: Path) -> None:
    """Remove what is told of runs whose process is dead; of another machine's what is a week old."""
    for live in (results / LIVE).glob("*"):
        with suppress(OSError):
            old = time.time() - live.stat().st_mtime > disk.OLD_S
            try:
                dead = disk.ended(Path(live / OWNER).read_text(encoding="utf-8"))
            except FileNotFoundError:
                dead = False
            if dead or old:
                shutil.rmtree(live, ignore_errors=True)
    with suppress(OSError):
        (results / LIVE).rmdir()


class Teller:
    """Takes the place of Progress in a process whose display is elsewhere (zobench.run.cell_runner.Reports).

    If a line cannot be written (full disk, missing folder) it is dropped, as records do not depend on it.
    """

    def __init__(self, live: Path) -> None:
        self.plugins: Any = self  # the observers are called where the run was started
        self._path = live / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._told = 0.0
        self._cell = ""

    def _tell(self, kind: str, **facts: Any) -> None:
        line = json.dumps({"kind": kind, "cell": self._cell, **facts})
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _now_and_then(self, kind: str, **facts: Any) -> None:
        if time.monotonic() - self._told >= EVERY_S:
            self._told = time.monotonic()
            self._tell(kind, **facts)

    def warn(self, message: str) -> None:
        """A line for the user."""
        self._tell("warn", message=message)

    def cell_start(self, cell: Cell) -> None:
        """As Progress.cell_start."""
        self._cell = cell.id
        self._tell("start", shown=str(cell))

    def cell_end(self, record: Record) -> None:
        """As Progress.cell_end."""
        self._tell("end", line=summarise(record))

    def phase(self, text: str) -> None:
        """As Progress.phase."""
        self._now_and_then("phase", text=text)

    def items(self, done: int, total: int) -> None:
        """As Progress.items."""
        self._now_and_then("items", done=done, total=total)

    def watch(self, cell: Cell, artefacts: Artefacts) -> TrainingWatch:
        """As Progress.watch."""
        return TrainingWatch(self, cell.key(), artefacts)

    def training(self, step: int, total: int, lr: float, dev: float | None) -> None:
        """As Progress.training."""
        self._now_and_then("training", step=step, total=total, lr=lr, dev=dev)

    def fire_step(self, **facts: Any) -> None:
        """As Plugins.fire_step."""
        self._tell("step", facts=facts)

    def fire_eval(self, **facts: Any) -> None:
        """As Plugins.fire_eval."""
        self._tell("eval", facts=facts)


class Unheard(Teller):
    """A Teller that nobody watches: of a process that does what another one tells of."""

    def _tell(self, kind: str, **facts: Any) -> None:
        pass


class Listener:
    """Reads what is told while it is entered, in a thread, and passes it on to the display and the observers."""

    def __init__(self, live: Path, progress: Progress) -> None:
        self.live, self.progress = live, progress
        self._read: dict[Path, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="zobench listener", daemon=True)
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Listener:
        self.live.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        shutil.rmtree(self.live, ignore_errors=True)
        with suppress(OSError):
            self.live.parent.rmdir()

    def _follow(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        for path in sorted(self.live.glob("*.jsonl")):
            with suppress(OSError):
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                self._read[path] = self._read.get(path, 0) + len(whole)
                for line in whole.splitlines():
                    if (told := _told(line)) is not None:
                        self._pass_on(path.stem, told)

    def _pass_on(self, who: str, told: dict[str, Any]) -> None:
        kind, shown = told["kind"], self._shown.get(who, "")
        display: dict[str, Callable[[], None]] = {
            "start": lambda: self.progress.elsewhere(who, told["shown"], "", 0, None),
            "phase": lambda: self.progress.elsewhere(who, shown, told["text"], 0, None),
            "items": lambda: self.progress.elsewhere(who, shown, "", told["done"], told["total"]),
            "training": lambda: self.progress.elsewhere(who, shown, _note(told), told["step"], told["total"]),
            "end": lambda: self.progress.ended_elsewhere(who, told["line"]),
            "warn": lambda: self.progress.plugins.warn(told["message"]),
            "step": lambda: self.progress.plugins.fire_step(**told["facts"]),
            "eval": lambda: self.progress.plugins.fire_eval(**told["facts"]),
        }
        if kind == "start":
            self._shown[who] = told["shown"]
        if kind in display:
            display[kind]()


def _told(line: bytes) -> dict[str, Any] | None:
    """What a line tells; None for one that a full disk cut, so that the next one stands in it."""
    with suppress(ValueError):
        told = json.loads(line)
        if isinstance(told, dict) and "kind" in told:
            return told
    return None


def _note(told: dict[str, Any]) -> str:
    return f"lr {told['lr']:g}" + ("" if told["dev"] is None else f", dev loss {told['dev']:.4f}")
