"""Signals that end a run: SIGTERM and SIGHUP do what Ctrl-C does, and none of them while a record is written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What ends a run beside Ctrl-C: schedulers and spot machines send these."""


class Stopped(KeyboardInterrupt):
    """A signal to end was received: an interrupt with a number."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status of a process that ends by it: 128 + its number."""
        return 128 + self.signum


def by(interrupt: KeyboardInterrupt) -> str:
    """Who interrupted, for a record: the user, or a signal's name."""
    return signal.Signals(interrupt.signum).name if isinstance(interrupt, Stopped) else "the user"


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise Stopped in the main thread. One that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in SIGNALS}
    ours = [s for s, handler in before.items() if handler is signal.SIG_DFL]
    for s in ours:
        signal.signal(s, _stop)
    try:
        yield
    finally:
        for s in ours:
            signal.signal(s, before[s])


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep the signals that end a run waiting: the last one is heard when it is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, *SIGNALS)}
    ours = [s for s, handler in before.items() if callable(handler)]  # else it ends the process, or nothing
    for s in ours:
        signal.signal(s, lambda signum, frame: came.append((signum, frame)))
    try:
        yield
    finally:
        for s in ours:
            signal.signal(s, before[s])
    if came:
        handler = before[signal.Signals(came[-1][0])]
        assert callable(handler)
        handler(*came[-1])


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped(signum)
