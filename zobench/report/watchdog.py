"""A process that ends another whose cell is not over in its time: `python -m zobench.report.watchdog`. Light.

It reads lines of JSON: when a cell begins what to do when its time is over, and an empty object when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import processes, swap


def main() -> None:
    """Watch until the input ends, as it does with the process that is watched."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    job: dict[str, Any] = {}
    until: float | None = None
    while True:
        try:
            line = lines.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            end(job)
            return
        if not line:
            return
        job = json.loads(line)
        until = time.monotonic() + job["seconds"] if job else None


def _read(lines: queue.Queue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


def end(job: dict[str, Any]) -> None:
    """End a process whose time is over; its cell gets the record that was made for this, unless it has a better one.

    Nothing is done where it has ended: its number may be another's by now.
    """
    who = int(job["pid"]), job["born"]
    stopped = not hasattr(signal, "SIGSTOP") or processes.signalled(*who, signal.SIGSTOP)  # it shall write none now
    if not stopped or not processes.alive(*who):
        return
    results, record = Path(job["results"]), job["record"]
    try:
        swap.put(results, record, swap.drafts(results, record["id"]))
    finally:
        if processes.signalled(*who, getattr(signal, "SIGKILL", signal.SIGTERM)):
            with contextlib.suppress(OSError):
                Path(job["claim"]).unlink()


if __name__ == "__main__":
    main()
