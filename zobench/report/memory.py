"""A board of the methods that fit into so much memory: as their cells measured it. Light."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ZobenchError
from . import text
from .rows import MethodRow, Section

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}


def parsed(said: str, option: str) -> int:
    """Bytes of `16GB`, `16 GiB`, `900MB`. Raises ZobenchError, naming the option, for what is none."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*", said, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise ZobenchError(f"{option} {said}: write for example {option} 16GB")
    unit = UNITS[found[2].lower()]
    if found[3]:
        unit = 1024 ** ["", "k", "m", "g", "t"].index(found[2].lower())
    return int(float(found[1]) * unit)


def peak(row: MethodRow) -> int | None:
    """The largest peak memory of a row's cells that ended well; None where one of them did not measure it."""
    known = [r["memory"].get("peak_bytes") for r in row.records if r["status"] == "ok"]
    return None if not known or None in known else max(n for n in known if n is not None)


def _fits(row: MethodRow, most: int) -> bool:
    return row.untouched or ((n := peak(row)) is not None and n <= most)


def within(section: Section, most: int) -> Section:
    """The section with the rows alone that fit."""
    return replace(section, rows=tuple(row for row in section.rows if _fits(row, most)))


def above(section: Section, most: int) -> list[str]:
    """The rows that do not, each with what it took."""
    out = []
    for row in section.rows:
        if not _fits(row, most):
            n = peak(row)
            out.append(f"{row.name} ({'not known' if n is None else text.size(n)})")
    return out


def said(most: int, left_out: Sequence[str]) -> str:
    """What the board must say of it."""
    rest = "; ".join(left_out) if left_out else "none"
    return f"**Within {text.size(most)} of peak memory**, as measured in the cells. Left out: {rest}."
