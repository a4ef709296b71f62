"""Records of one method apart by the code that made them: under its name a plugin may be another method now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from .plain import canonical
from .record import Record


def code_of(record: Record) -> dict[str, Any]:
    """What code made a record: the digests of plugins, and zobench's own numerics."""
    cell = record["cell"]
    return {"numerics": cell.get("numerics", 1), **cell.get("code", {})}


def apart_by_code(records: Sequence[Record]) -> list[list[Record]]:
    """Together, unless a plugin's code (or zobench's numerics) changed between them: then by what changed."""
    codes = [code_of(record) for record in records]
    changed = _changed(codes)
    apart: dict[str, list[Record]] = defaultdict(list)
    for record, code in zip(records, codes, strict=True):
        apart[canonical({name: code.get(name) for name in changed})].append(record)
    return [apart[key] for key in sorted(apart)]


def told_of_code(among: Sequence[Record], record: Record) -> dict[str, str]:
    """The digests that tell a row from others of the same name; what only one of them uses tells nothing."""
    changed, own = _changed([code_of(r) for r in among]), code_of(record)
    return {name: str(own[name])[:8] for name in changed if name in own}


def _changed(codes: Sequence[dict[str, Any]]) -> list[str]:
    names = sorted({name for code in codes for name in code})
    return [name for name in names if len({code[name] for code in codes if name in code}) > 1]
