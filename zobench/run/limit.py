"""The time that a cell may take (`--timeout`): an alarm in its process, and a watchdog for what does not hear it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from ..report import processes

AGAIN_S = 5.0
"""Seconds after which the alarm rings again, where a plugin has caught it."""
GRACE_S = 30.0
"""Seconds that a cell has after its alarm before the watchdog ends its process: for a batch, a record."""


class TimedOut(BaseException):
    """The time limit of the cell has passed. It is no Exception, so that a plugin which catches all exceptions does not
    swallow it.
    """


@contextlib.contextmanager
def within(seconds: float) -> Iterator[Callable[[], None]]:
    """Inside, TimedOut is raised when so many seconds have passed (0: never).

    By an alarm where the system has one and this is the main thread. The function that is yielded raises it too, for
    use between two steps.
    """
    if not seconds:
        yield lambda: None
        return
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise TimedOut

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        try:
            yield check
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    finally:  # also where the alarm rings in this very moment
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _ring(signum: int, frame: FrameType | None) -> NoReturn:
    raise TimedOut


class Watchdog:
    """A process beside this one that ends it where a cell is not over long after its time, and writes its record.

    Code that does not come back to Python hears no alarm, and where it holds the interpreter no thread runs.
    """

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zobench.report.watchdog"],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            start_new_session=True,  # Ctrl-C is not for it: it ends when this process does
        )
        assert self._process.stdin is not None
        self._pipe: IO[str] = self._process.stdin

    @contextlib.contextmanager
    def over(self, seconds: float, results: Path, record: Any, claim: Path) -> Iterator[None]:
        """Inside, this process may take so long: then it is ended, and `record` is the record of its cell."""
        where = {"results": str(results.absolute()), "claim": str(claim.absolute())}
        pid = os.getpid()
        self._say(seconds=seconds, pid=pid, born=processes.born(pid), record=record, **where)
        try:
            yield
        finally:
            self._say()

    def _say(self, **facts: Any) -> None:
        with contextlib.suppress(OSError):  # it was ended by somebody: the alarm is left
            self._pipe.write(json.dumps(facts) + "\n")
            self._pipe.flush()
