"""Signals that end a run: SIGTERM and SIGHUP do what Ctrl-C does, once, and none of them while a record is written."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends a run beside Ctrl-C: schedulers and spot machines send these."""
AGAIN_S = 10.0
"""Seconds after a signal in which further ones are not heard: a scheduler sends them to a process and to those that
pass them on, and who is impatient twice. A later one is from somebody who means what hangs in ending.
"""


class Stopped(KeyboardInterrupt):
    """A signal to end was received: an interrupt with a number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status of a process that ends by it: 128 + its number."""
        return 128 + self.signum


@dataclass
class _Heard:
    """What this process was told: the last signal that counted, when, and whether it still waits to be raised."""

    signum: int = 0
    at: float | None = None
    waits: bool = False
    held: int = 0


_heard = _Heard()


def by(interrupt: KeyboardInterrupt) -> str:
    """Who interrupted, for a record: the user, or a signal's name."""
    return signal.Signals(interrupt.signum).name if isinstance(interrupt, Stopped) else "the user"


def heard() -> KeyboardInterrupt | None:
    """The signal to end that this process was told inside `stoppable`; None where there was none."""
    if _heard.at is None:
        return None
    return KeyboardInterrupt() if _heard.signum == signal.SIGINT else Stopped(_heard.signum)


def check() -> None:
    """Raise the signal to end again, where something caught it and went on."""
    if not _heard.held and (interrupt := heard()) is not None:
        raise interrupt


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise Stopped in the main thread, and Ctrl-C KeyboardInterrupt; others that
    come in the next seconds are not heard, so that the end is not cut short. What is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, *SIGNALS)}
    ours = [s for s, handler in before.items() if handler in (signal.SIG_DFL, signal.default_int_handler)]
    outermost = _hear not in before.values()
    for s in ours:
        signal.signal(s, _hear)
    try:
        yield
    finally:
        for s in ours:
            signal.signal(s, before[s])
        if outermost:
            _heard.at, _heard.waits = None, False


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep the signals that end a run waiting: the first is heard when it is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _heard.held += 1  # before all else: from here on none is raised
    came: list[tuple[int, FrameType | None]] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, *SIGNALS)}
    others = [s for s, handler in before.items() if callable(handler) and handler is not _hear]
    for s in others:
        signal.signal(s, lambda signum, frame: came.append((signum, frame)))
    try:
        yield
    finally:
        for s in others:
            signal.signal(s, before[s])
        _heard.held -= 1
        waits, _heard.waits = _heard.waits and not _heard.held, _heard.waits and _heard.held > 0
    if waits:
        check()
    if came:
        handler = before[signal.Signals(came[-1][0])]
        assert callable(handler)
        handler(*came[-1])


def _hear(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _heard.at is not None and now - _heard.at < AGAIN_S:
        return
    first = _heard.at is None
    _heard.signum, _heard.at = signum, now
    if _heard.held and first:
        _heard.waits = True
        return
    _heard.waits = False
    raise Stopped(signum) if signum != signal.SIGINT else KeyboardInterrupt
