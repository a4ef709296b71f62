"""`zobench ...` in a process of its own, to be sent signals: a fork of this one, which has all imports behind it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing import forkserver
from typing import IO

from zobench.cli import main

LONG = 600
"""Seconds after which a process that should end counts as one that does not: no test waits for a part of them."""


class Forked:
    """`main(words)` in a fork of this process, with streams of its own: what the tests ask of a subprocess.Popen."""

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        self.streams: list[IO[bytes]] = [tempfile.TemporaryFile() for _ in range(2)]
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(words, environment)

    def _run(self, words: list[str], environment: Mapping[str, str]) -> None:
        status = 70
        try:
            for number, stream in enumerate(self.streams, start=1):
                os.dup2(stream.fileno(), number)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
            heeds_signals()
            server = forkserver._forkserver
            if server._forkserver_pid is not None:  # it serves this process too, which may not ask after its health
                forkserver.ensure_running = server.ensure_running = lambda: None
            os.environ.update(environment)
            status = main(words)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def poll(self) -> int | None:
        """Its exit status, negative where a signal ended it; None: it is at work."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = LONG) -> tuple[str, str]:
        """What it wrote on standard output and standard error, once it has ended. TimeoutError where it does not."""
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError(f"process {self.pid} has not ended after {timeout} s")
            time.sleep(0.01)
        for stream in self.streams:
            stream.seek(0)
        out, err = (stream.read().decode() for stream in self.streams)
        return out, err


def started(words: list[str], *, afresh: bool = False, **environment: str) -> Forked | subprocess.Popen[str]:
    """A process that runs these words. afresh: by a Python of its own, as a user starts it, as is done off Linux."""
    if sys.platform == "linux" and not afresh:
        return Forked(words, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "zobench", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=heeds_signals,
    )


def ended(process: Forked | subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote on standard output and standard error, once it has ended."""
    try:
        return process.communicate(timeout=LONG)
    finally:
        process.kill()  # else, where this fails, it goes on beside the other tests


def heeds_signals() -> None:
    """A job in the background of a shell ignores control C, one of nohup SIGHUP, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
