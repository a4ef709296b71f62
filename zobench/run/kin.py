"""Cells that are planned and records that are there: which may stand in one table, which are nearly the same. Light."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from ..report.plain import canonical

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..report.record import Record


def check(planned: Sequence[Cell], known: Iterable[Record], results: Path) -> None:
    """ZobenchError for a record that no table may hold beside a cell that is planned: hours later is too late."""
    same, other = ("model", "model_revision", "data", "task"), ("task_version", "data_revision")
    kin: dict[str, Mapping[str, object]] = {}  # all planned cells of a task share what may not differ
    for cell in planned:
        key = cell.key()
        kin[canonical([[key[k] for k in same], cell.protocol.record()])] = {**key}  # type: ignore[literal-required]
    for record in known:
        theirs: Mapping[str, object] = {**record["cell"]}
        ours = kin.get(canonical([[theirs[k] for k in same], record["protocol"]]))
        if ours is not None and any(ours[k] != theirs[k] for k in other):
            raise ZobenchError(
                f"--results {results}: {record['id']} is of other data, or another version, of task {theirs['task']}, "
                "and may not stand in one table with what would be run; name another folder"
            )


def tell_of_changed_code(planned: Sequence[Cell], known: Mapping[str, Record], plugins: Plugins) -> None:
    """A line for the records that would be these cells, had the code of a plugin (or ours) not changed since."""
    apart = ("code", "numerics")

    def bare(cell: Mapping[str, object], protocol: Mapping[str, object]) -> str:
        return canonical([{k: v for k, v in cell.items() if k not in apart}, protocol])

    twins = {bare({**c.key()}, c.protocol.record()): c for c in planned if c.id not in known}
    changed: dict[str, list[str]] = {}
    for record in known.values() if twins else ():
        cell = twins.get(bare({**record["cell"]}, record["protocol"]))
        if cell is not None:
            ours, theirs = cell.code, record["cell"].get("code", {})
            names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
            changed.setdefault(", ".join(names) or "zobench", []).append(record["id"])
    for name, ids in sorted(changed.items()):
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        plugins.warn(f"{name} changed since {sorted(ids)[0]}{more} ran: its cell runs again, beside the old record")


def at_other_settings(planned: Sequence[Cell], known: Mapping[str, Record]) -> set[str]:
    """The records of the same model, task, method and seed as cells that have none, at other settings."""
    ours = {c.id for c in planned}
    new = {_names({**c.key()}, c.protocol.data_seed) for c in planned if c.id not in known}
    others = {i: r for i, r in known.items() if i not in ours}
    return {i for i, r in others.items() if _names({**r["cell"]}, r["protocol"].get("data_seed")) in new}


def _names(cell: Mapping[str, Any], split: int | None) -> tuple[Any, ...]:
    return (*(cell.get(key) for key in ("model", "data", "task", "estimator", "selector", "seed")), split)
