"""The one kind of error that is the user's to mend, and the sentence that helps to mend it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from importlib import import_module
from typing import Any


class ZobenchError(Exception):
    """A fault the user can mend: shown as one line on stderr, without a traceback, exit status 2.

    The message says what is wrong, names the thing, and says what to do about it. Anything else that
    is raised, but for an OSError, is a bug of zobench or of a plugin: exit status 70, its traceback in a file.
    """


_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc", "bad allocation", "ALLOC_FAILED")


def out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, of a device or of the machine: this error says so, or one that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"MemoryError", "OutOfMemoryError"} or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError) and any(text in said(error) for text in _NO_MEMORY):
            return True
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def library(name: str, needed_by: str, *, install: str | None = None, instead: str = "") -> Any:
    """The module `name` of a library that only some things need, imported now.

    needed_by: what needs it, the sentence's subject. install: what pip is told, where it is not the first part of
    `name`. instead: what to do without it.

    Raises ZobenchError, one line with the command that mends it, where the library is not there or cannot be imported.
    """
    package, other = name.partition(".")[0], f", or {instead}" if instead else ""
    command = f"pip install {install or package}"
    try:
        return import_module(name)
    except ModuleNotFoundError as e:
        if e.name is not None and e.name.partition(".")[0] == package:
            raise ZobenchError(f"{needed_by} needs the package {package}: {command}{other}") from None
        raise ZobenchError(f"{needed_by} needs {package}, which misses {e.name}: {command} {e.name}{other}") from e
    except (ImportError, RuntimeError, AttributeError) as e:  # of versions that do not fit each other
        why = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
        mend = command.replace("install", "install -U", 1)
        raise ZobenchError(f"{needed_by} needs {package}, which cannot be imported ({why}): {mend}{other}") from e


def unknown(kind: str, name: str, known: Iterable[str], *, see: str = "") -> str:
    """The message for a name that is not known: the nearest names first, all of them if few.

    Example: ``unknown estimator 'mzo'; did you mean 'mezo'? (see: zobench ls estimators)``
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    if near:
        hint = "; did you mean " + " or ".join(repr(n) for n in near) + "?"
    elif names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        hint = f"; known: {shown}"
    else:
        hint = "; none is registered"
    return f"unknown {kind} {name!r}{hint}" + (f" (see: {see})" if see else "")


def said(e: BaseException, limit: int = 500, *, first: bool = False) -> str:
    """What an exception of somebody else's says: one line that can be printed and written. Empty if it says nothing.

    Its text may be anything, of any length, and asking for it may raise. first: its first line alone.
    """
    try:
        whole = str(e).strip()
    except Exception:
        return "(its text cannot be had)"
    text = " ".join((whole.splitlines()[:1] if first else whole.split()) or [""])
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return line if len(text) <= limit else f"{line[:limit]}..."


def shown(value: object, limit: int = 80) -> str:
    """Somebody else's object as it shows itself, in at most `limit` characters; its type where it cannot."""
    try:
        return f"{value!r:.{limit}}"
    except Exception:
        return f"a {type(value).__name__}"
