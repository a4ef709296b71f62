"""Processes of this machine by number and start, as a number is another process's when the first is gone. Light."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from functools import lru_cache
from pathlib import Path


def born(pid: int) -> str | None:
    """When a process started, as text for comparison. None if it does not run any more, or cannot be told."""
    try:
        # After the name of the program, which may hold spaces.
        facts = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if facts[0] in (b"Z", b"X") else facts[19].decode()
    except (OSError, IndexError):
        pass
    import psutil

    try:
        one = psutil.Process(pid)
        return None if one.status() == psutil.STATUS_ZOMBIE else f"{one.create_time():.0f}"
    except (psutil.Error, ValueError, OverflowError):
        return None


def born_here() -> str | None:
    """When this process started, as `born` says it; asked for at every claim and every mark of life."""
    return _born_here(os.getpid())


_born_here = lru_cache(maxsize=1)(born)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_born_here.cache_clear)  # numbers of processes come again


def alive(pid: int, since: str | None = None) -> bool:
    """Whether a process runs: the one that began then, where that is said."""
    now = born(pid)
    return now is not None and since in (None, now)


def signalled(pid: int, since: str | None, signum: int) -> bool:
    """Send a signal to the process that began then; False where it has ended, whoever has its number now."""
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):
            if since is not None and born(pid) == since:
                os.kill(pid, signum)
                return True
            return False
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # an older system, or no such process
            handle = None
        try:  # what is opened is looked at: it cannot become another in between
            if since is None or born(pid) != since:
                return False
            if handle is None:
                os.kill(pid, signum)
            else:
                signal.pidfd_send_signal(handle, signum)
            return True
        finally:
            if handle is not None:
                os.close(handle)
    return False
