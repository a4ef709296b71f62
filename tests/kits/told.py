"""What a command says, run in this process: its status, its errors, and whether that is an answer."""

from __future__ import annotations

import contextlib
import io
import signal
from dataclasses import dataclass

from zobench.cli import main

SECONDS = 60
"""The longest that one input may take, on a machine with much else to do."""


@dataclass(frozen=True)
class Told:
    """What a command said."""

    status: int | str
    err: str

    @property
    def fault(self) -> str:
        """What is wrong with the answer; empty if nothing is."""
        last = self.err.strip().splitlines()[-1:] or [""]
        if self.status not in (0, 1, 2):
            return f"status {self.status}: {last[0][:300]}"
        if "Traceback (most recent" in self.err:
            return f"a traceback: {last[0][:300]}"
        if self.status == 2 and not last[0]:
            return "status 2 and nothing said"
        return ""


def told(words: list[str]) -> Told:
    """The answer to a command line, given in this process. A hang, or what no `main` raises, is a status of its own."""

    def over(*_: object) -> None:
        raise TimeoutError(f"still at work after {SECONDS} s")

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status: int | str = main(words)
    except BaseException as e:
        status = f"{type(e).__name__}: {e}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return Told(status, err.getvalue())
