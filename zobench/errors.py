"""The one kind of error that is the user's to mend, and the sentence that helps to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ZobenchError(Exception):
    """A fault the user can mend: shown as one line on stderr, without a traceback, exit status 2.

    The message says what is wrong, names the thing, and says what to do about it. Anything else that
    is raised, but for an OSError, is a bug of zobench or of a plugin: exit status 70, its traceback in a file.
    """


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
