"""Examples at the foot of help texts."""

from __future__ import annotations

from collections.abc import Sequence


def epilog(examples: Sequence[str]) -> str:
    r"""Examples as the foot of a help text: one a line, which `\b` keeps from being re-wrapped."""
    return "\b\n" + "\n".join(("Examples:", *(f"  {line}" for line in examples)))
