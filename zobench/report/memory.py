"""A board of the methods that fit into so much memory: as their cells measured it. Light."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..errors import ZobenchError
from . import text
from .rows import MethodRow, Section

MOST_NAMES = 4
"""Methods that a sentence names."""


def parsed(said: str, option: str = "--max-memory") -> int:
    """Bytes of `16GB`, `900M` (powers of ten) or `24GiB`. Raises ZobenchError, naming the option, for what is none."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT])(i?)B?\s*", said, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise ZobenchError(f"{option} {said}: write a size, for example 16GB or 24GiB")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** (" KMGT".index(found[2].upper())))


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


@dataclass(frozen=True)
class MemoryLimit:
    """What a board was kept within."""

    most: int
    """Bytes."""
    left_out: tuple[str, ...]
    """The rows that take more, each with what it took; and those of which it is not known."""

    @property
    def size(self) -> str:
        """As people write it: `16 GB`, and `24 GiB` for what is whole in that."""
        for unit, n in (("GiB", 1024**3), ("GB", 1000**3), ("MiB", 1024**2), ("MB", 1000**2)):
            if self.most >= n and self.most % n == 0:
                return f"{self.most // n} {unit}"
        return text.size(self.most)

    def said(self) -> list[str]:
        """Which rows are left out."""
        if not self.left_out:
            return ["Every method fits."]
        shown = self.left_out if len(self.left_out) <= MOST_NAMES else self.left_out[: MOST_NAMES - 1]
        more = len(self.left_out) - len(shown)
        rest = f" and {more} more" if more else ""
        return [f"Left out: {', '.join(shown)}{rest}."]
