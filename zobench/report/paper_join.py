"""Which of our rows is which of the paper's: by what moves, not by what the selector is called. Light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .rows import MethodRow, Section

OUTLIER_BLOCK = "first_outlier"
CHANNELS = "outlier_channels"
WHOLE_BLOCKS = frozenset({"layer", OUTLIER_BLOCK, "max_jump", "emergence_layer", "exhaustive_sweep"})
"""Selectors of whole decoder blocks: a sum of them moves all of the blocks that its records name."""


def ours(printed: Mapping[str, Any], dominant: int, section: Section | None) -> list[MethodRow]:
    """Our rows that are a row of the paper, `dominant` being the block that is dominant in its model.

    The dominant layer is whatever chose it: `first_outlier`, which is its method, or `layer:1` of LLaMA2-7B.
    """
    if section is None or printed.get("estimator") is None:
        return []
    return [row for row in section.rows if row.estimator == printed["estimator"] and _same(printed, dominant, row)]


def _same(printed: Mapping[str, Any], dominant: int, row: MethodRow) -> bool:
    if "part" in printed:
        return row.selector.partition(":")[0] == CHANNELS and _part(row) == printed["part"]
    if "blocks" in printed:
        return of_blocks(row, printed["blocks"])
    if printed["selector"] == OUTLIER_BLOCK:
        return row.selector == OUTLIER_BLOCK or of_blocks(row, [dominant])
    return bool(row.selector == printed["selector"])


def of_blocks(row: MethodRow, blocks: Sequence[int]) -> bool:
    """Whether all of a row's cells moved these decoder blocks, whole, and nothing else."""
    if not all(term.partition(":")[0] in WHOLE_BLOCKS for term in row.selector.split("+")):
        return False
    moved = {tuple(r["scope"]["layers"]) for r in row.records if r["status"] == "ok" and r["scope"] is not None}
    return moved == {tuple(blocks)}


def _part(row: MethodRow) -> object:
    settings = row.records[0]["cell"]["selector_settings"]
    return settings.get("part", row.selector.partition(":")[2] or "top")
