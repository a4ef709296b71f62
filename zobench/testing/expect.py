"""How a check says that something is wrong, or that it does not apply."""

from __future__ import annotations


class Failed(AssertionError):
    """A check found the estimator wrong."""


class NotApplicable(Exception):
    """A check has nothing to look at here; the text says why."""


def expect(holds: bool, message: str) -> None:
    """Raise Failed with the message unless `holds`."""
    if not holds:
        raise Failed(message)
