"""Processes of this machine that run cells, each kept for many cells and given one at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from zobench import ZobenchError

if TYPE_CHECKING:
    from zobench import Cell, Record, RunCell

PATIENCE_S = 60.0
"""For a process that was told to stop to write its record."""
HEAVY = (
    "torch",
    "zobench.models.preloaded",
    "zobench.plugins.registry",
    "zobench.run.session",
    "zobench.run.cell_runner",
)
"""What each process would import: where processes can be forked from one that has it, it is imported once."""


class Processes:
    """So many processes at once; one that dies is started anew for what is left.

    gpus: for each process the name of its GPU, as CUDA_VISIBLE_DEVICES has it. threads: of the CPU, for each.
    """

    def __init__(self, run_cell: RunCell, gpus: Sequence[str | None], threads: int) -> None:
        self.run_cell, self.threads = run_cell, threads
        self.gpus, self.context = gpus, _context()
        self.at_work: dict[Any, _Process] = {}
        self.work: dict[str, float] = {}

    def run(self, cells: Sequence[Cell]) -> Iterator[Record]:
        """The records as they come. An interrupt is passed on, and their records are waited for."""
        todo = list(cells)
        self.work = {cell.id: self.run_cell.work(cell) for cell in cells}
        free = [self._start(gpu) for gpu in self.gpus]
        told: int = signal.SIGINT
        try:
            while todo or self.at_work:
                while free and todo:
                    self._give(free.pop(0), todo)
                for process in self._ready():
                    yield self._taken(process)
                    if todo:
                        free.append(process if process.alive() else self._start(process.gpu))
                    else:
                        process.end()
        except BaseException as e:
            told = getattr(e, "signum", signal.SIGINT)  # as the signal that this process was sent
            raise
        finally:
            _stop([*self.at_work.values(), *free], told)

    def stop(self, signum: int) -> None:
        """Tell the cells at work to stop, as this signal does, and wait for it."""
        _stop(list(self.at_work.values()), signum)

    def _start(self, gpu: str | None) -> _Process:
        return _Process(self.context, gpu, self.threads, self.run_cell)

    def _give(self, process: _Process, todo: list[Cell]) -> None:
        """A cell of the task it has at hand; else of one that no other has at hand; else of any. Of these of the task
        that has the most work left, the longest first, so that none is begun last that takes long.
        """
        theirs = {p.cell.task for p in self.at_work.values() if p.cell is not None}
        mine = [c for c in todo if c.task == process.task]
        of = mine or [c for c in todo if c.task not in theirs] or todo
        left = Counter[str]()
        for c in todo:
            left[c.task] += self.work[c.id]  # type: ignore[assignment]
        cell = max(of, key=lambda c: (left[c.task], self.work[c.id]))
        todo.remove(cell)
        process.begin(cell)
        self.at_work[process.pipe] = process

    def _ready(self) -> list[_Process]:
        """Those that said something, or died."""
        by = {**self.at_work, **{p.handle.sentinel: p for p in self.at_work.values()}}
        return list(dict.fromkeys(by[one] for one in wait(list(by))))

    def _taken(self, process: _Process) -> Record:
        """The record that a process gave, or that its death leaves. Raises what no cell could run for."""
        del self.at_work[process.pipe]
        cell = process.cell
        assert cell is not None
        try:
            kind, value = process.pipe.recv()
        except (EOFError, OSError):
            process.end()
            return self.run_cell.lost(cell, *_death(process.handle.exitcode))
        if kind == "fault":
            raise value
        process.cell = None
        return value  # type: ignore[no-any-return]


class _Process:
    """One process: what it is doing, and the pipe to it."""

    def __init__(self, context: Any, gpu: str | None, threads: int, run_cell: RunCell) -> None:
        self.gpu, self.cell, self.task = gpu, None, ""  # type: tuple[str | None, Cell | None, str]
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, _me(), gpu, threads)
        self.handle = context.Process(target=_main, args=arguments, name="zobench cells", daemon=True)
        self.handle.start()
        self.seen = _seen(self.handle.pid)
        theirs.close()
        with contextlib.suppress(OSError):  # it died: the sentinel tells
            self.pipe.send(run_cell)  # not an argument: those are read before its GPU is set

    def begin(self, cell: Cell) -> None:
        self.cell, self.task = cell, cell.task
        with contextlib.suppress(OSError):  # it died: the sentinel tells
            self.pipe.send(cell)

    def alive(self) -> bool:
        return bool(self.handle.is_alive())

    def end(self) -> None:
        """It has nothing to do any more."""
        self.pipe.close()
        self.handle.join(PATIENCE_S)


def _stop(processes: Sequence[_Process], signum: int) -> None:
    """End all; those that are in a cell are told so by a signal, and waited for: they write what they know."""
    for process in processes:
        if process.cell is not None and process.alive():
            _tell(process.seen, signum)
        process.pipe.close()
    until = time.monotonic() + PATIENCE_S
    for process in processes:
        process.handle.join(max(0.0, until - time.monotonic()))
        if process.alive():
            process.handle.kill()
            process.handle.join()


def _seen(pid: int) -> Any:
    """A process by its number and its start, as psutil has it; None where it has ended."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _tell(process: Any, signum: int) -> None:
    """Send it a signal, unless it has ended: its number may be another's by now."""
    import psutil

    if process is not None:
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            process.send_signal(signum)


def _death(code: int | None) -> tuple[str]:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        why = ", as the system does where memory is full: fewer --jobs take less" if name == "SIGKILL" else ""
        return (f"its process was ended by {name}{why}",)
    return (f"its process ended with status {code}",)


def start_early() -> None:
    """Have what processes are forked from import what all need, beside what this process does meanwhile."""
    if sys.platform.startswith("linux"):
        from multiprocessing import forkserver

        _context()
        forkserver.ensure_running()


def _context() -> Any:
    """Processes are forked from one that has imported what all need, where that is safe; else started afresh."""
    if not sys.platform.startswith("linux"):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    kinds = ("modeling_", "tokenization_", "configuration_")
    models = [name for name in sys.modules if name.rpartition(".")[2].startswith(kinds) and name.startswith("trans")]
    context.set_forkserver_preload([*HEAVY, *models])
    return context


def _main(pipe: Connection, parent: tuple[int, float], gpu: str | None, threads: int) -> None:
    """What a process does: the pipe gives what runs cells, then cells, and takes records, until it is closed there."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # Ctrl-C goes to the process that was started, which passes it on once
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))
    threading.Thread(target=_end_with, args=parent, daemon=True).start()
    try:
        run_cell: RunCell = pipe.recv()
        while True:
            pipe.send(("record", run_cell(pipe.recv())))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    except Exception as e:
        fault = e if type(e) is ZobenchError else ZobenchError(f"{type(e).__name__}: {e}")
        with contextlib.suppress(OSError):
            pipe.send(("fault", fault))


def _me() -> tuple[int, float]:
    """The number and the start of this process."""
    import psutil

    return os.getpid(), psutil.Process().create_time()


def _end_with(number: int, start: float) -> None:
    """Stop as SIGTERM does when the process that started this one is gone: nobody would take the records."""
    import psutil

    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(number)
        while parent.create_time() == start and parent.is_running() and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
