"""What failed in a run, for the person at the terminal: cells that failed alike in one line. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..report.record import Record

MOST = 3
"""Cells that a line names."""
NEXT = {
    "diverged": "diverged: the same command would give the same again; lower --lr, or another --dtype, are new cells",
    "oom": "oom: settings that take less are new cells; --rerun failed runs these again where there is more memory",
    "timeout": "timeout: the same command with --rerun failed and a longer --timeout goes on where they were",
    "error": "error: when that is mended, the same command with --rerun failed runs them again",
}
"""What helps cells that came to such an end; the same command goes on with those that were stopped."""


def lines(records: Iterable[Record]) -> list[str]:
    """A line for each way of failing, with the cells that failed so, and what to do; none where none failed."""
    from ..report.text import printable

    alike: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        if record["status"] != "ok":
            key = (record["status"], record["error"] or "", record.get("retry", ""))
            alike.setdefault(key, []).append(record["id"])
    out = []
    for (status, error, retry), ids in alike.items():
        again = f" (of the machine: {retry}; the same command runs it again)" if retry else ""
        out.append(printable(f"failed: {_some(ids)}: {status}: {error}{again}"))
    ends = {status for status, _, retry in alike if not retry}
    return out + [line for status, line in NEXT.items() if status in ends]


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:MOST])
    return shown if len(ids) <= MOST else f"{len(ids)} cells, {shown}, ..."
