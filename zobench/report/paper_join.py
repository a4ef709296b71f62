"""Which of our rows is which of the paper's: by what moves, not by what the selector is called. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .known import KnownNames
from .rows import MethodRow, Section


def ours(printed: Mapping[str, Any], dominant: int, section: Section | None) -> list[MethodRow]:
    """Our rows that are a row of the paper, `dominant` being the block that is dominant in its model.

    The dominant layer is whatever chose it: the selector of the outlier block, or the block by its number.
    """
    if section is None or printed.get("estimator") is None:
        return []
    known = section.known
    mine = [row for row in section.rows if row.estimator == printed["estimator"]]
    return [row for row in mine if _same(printed, dominant, row, known)]


def _same(printed: Mapping[str, Any], dominant: int, row: MethodRow, known: KnownNames) -> bool:
    if "part" in printed:
        of_parts = printed["runs"].partition(":")[0]
        return bool(row.selector.partition(":")[0] == of_parts and _part(row) == printed["part"])
    if "blocks" in printed:
        return of_blocks(row, printed["blocks"], known)
    if printed["selector"] in known.outlier_block:
        return row.selector in known.outlier_block or of_blocks(row, [dominant], known)
    return bool(row.selector == printed["selector"])


def of_blocks(row: MethodRow, blocks: Sequence[int], known: KnownNames) -> bool:
    """Whether all of a row's cells moved these decoder blocks, whole, and nothing else."""
    of_whole_blocks = {*known.one_block, *known.outlier_block, *known.whole_blocks}  # a sum moves all of theirs
    if not all(term.partition(":")[0] in of_whole_blocks for term in row.selector.split("+")):
        return False
    moved = {tuple(r["scope"]["layers"]) for r in row.records if r["status"] == "ok" and r["scope"] is not None}
    return moved == {tuple(blocks)}


def _part(row: MethodRow) -> object:
    settings = row.records[0]["cell"]["selector_settings"]
    return settings.get("part", row.selector.partition(":")[2] or "top")
