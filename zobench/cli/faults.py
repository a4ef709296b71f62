"""What becomes of all that reaches the top of a command: one line on stderr, and an exit status. Light.

A fault of the user's (ZobenchError) or of the machine (an OSError: full, unreadable, too long a name) is 2, a bug of
ours 70, an interrupt 130, a reader of our output that went away 141. A bug's traceback is kept in a file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, cast

from .. import redact
from ..errors import ZobenchError, said

WRONG, BUG, INTERRUPTED, UNHEARD = 2, 70, 130, 141
DEBUG_VARIABLE = "ZOBENCH_DEBUG"
_LONGEST = 2000  # characters of a line: what a user gave stands in it


def debugging(arguments: Sequence[str]) -> bool:
    """Whether tracebacks are to be printed: `--debug` before the subcommand, or ZOBENCH_DEBUG set to more than 0."""
    before = []
    for word in arguments:
        if not word.startswith("-"):
            break
        before.append(word)
    return "--debug" in before or os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


def one_line(text: str) -> str:
    """Text as one line that a terminal shows as it is: no line breaks, control characters or secrets, and an end."""
    words = " ".join(redact.text(text).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


def say(message: str) -> None:
    """One line on stderr."""
    print("zobench: " + one_line(message), file=sys.stderr)


def wrong(message: str) -> int:
    """Say what is wrong, in one line; the status."""
    say(f"error: {message}")
    return WRONG


def stoppable(called: bool) -> contextlib.AbstractContextManager[None]:
    """Inside, the first signal to end is heard, where a command is called."""
    if not called:
        return contextlib.nullcontext()
    from ..run import stopping

    return stopping.stoppable()


def interrupted() -> int:
    """Say what interrupted the command; the status."""
    from ..run.stopping import Stopped, heard

    by = heard()
    say(str(by) if isinstance(by, Stopped) else "interrupted")
    return by.status if isinstance(by, Stopped) else INTERRUPTED


def of_the_machine(error: OSError) -> int:
    """Say what the system refused, of which file; the status. A reader of our output that went away hears nothing."""
    if error.errno == errno.EPIPE and error.filename is None:
        return UNHEARD
    where = f"{error.filename}: " if error.filename is not None else ""
    return wrong(f"{where}{error.strerror or error}")


def bug(error: BaseException, *, debug: bool) -> int:
    """Say that this is a bug, where it arose, and where its traceback is; the status."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f" ({os.path.basename(last[0].filename)}:{last[0].lineno})" if last else ""
    text = said(error)
    told = type(error).__name__ + (f": {text}" if text else "")
    say(f"this is a bug in zobench: {told:.300}{place}; {_kept(error, debug)}")
    return BUG


def _kept(error: BaseException, debug: bool) -> str:
    """Put the traceback of a bug into a file, where it was not printed; says where it is."""
    whole = redact.text("".join(traceback.format_exception(error)))
    if not debug:
        try:
            handle, path = tempfile.mkstemp(prefix="zobench-bug-", suffix=".txt")
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(whole)
            return f"its traceback is in {path} (zobench --debug ... prints it): please report it"
        except OSError:
            print(whole, end="", file=sys.stderr)  # better than losing it
    return "its traceback is above: please report it"


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Standard streams that can say every text, whatever their encoding, and an stderr whose loss stops nothing.

    A run of hours must not end because the terminal that showed its progress was closed. A standard output that is
    closed is refused before anything is done. Raises ZobenchError for it.
    """
    _open_all()
    if sys.stdout is None:
        raise ZobenchError("standard output is closed, and would have the answer; write >/dev/null if it is not wanted")
    stderr = sys.stderr
    for stream in (sys.stdout, stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = cast(TextIO, _Forgiving(stderr))
    try:
        yield
        _flushed()
    finally:
        sys.stderr = stderr


def _open_all() -> None:
    """Take the numbers 0 to 2, where they are closed: else the next file that is opened gets one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _flushed() -> None:
    """Say all that was printed so far. Raises OSError where that fails, and drops it, so that Python's end is quiet."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)
        raise


class _Forgiving:
    """A text stream, but that a write which the system refuses is dropped."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.flush()
