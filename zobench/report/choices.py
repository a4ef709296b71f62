"""The tables of what was chosen, how it was computed, and what failed."""

from __future__ import annotations

from . import text
from .entry import Entry
from .record import Record
from .rows import MethodRow, Section
from .tables import distinct, heads, trained


def rates(record: Record) -> list[float]:
    """The learning rates of a cell: its grid's, and those tried beyond it."""
    return sorted({*record["cell"]["lrs"], *(t["lr"] for t in record["trials"])})


def edge(record: Record) -> str:
    """`upper` or `lower` where the chosen learning rate is the end of a grid of several; empty otherwise."""
    grid, chosen = rates(record), record.get("chosen", {}).get("lr")
    if len(grid) < 2 or chosen is None:
        return ""
    return "upper" if chosen >= grid[-1] else "lower" if chosen <= grid[0] else ""


def tried(row: MethodRow) -> list[float]:
    """The learning rates of all of a row's cells."""
    return sorted({lr for record in row.records for lr in rates(record)})


def rate_table(section: Section) -> str:
    """The learning rate chosen on dev, by task; an arrow where it is the end of its grid."""
    arrows = {"upper": " ↑", "lower": " ↓", "": ""}

    def show(entry: Entry) -> str:
        chosen = {
            r["chosen"]["lr"]: f"{r['chosen']['lr']:g}{arrows[edge(r)]}"
            for r in entry.done.values()
            if r.get("chosen", {}).get("lr") is not None
        }
        lost = [t["status"] for r in entry.done.values() for t in r["trials"] if t["status"] != "ok"]
        shown = ", ".join(chosen[lr] for lr in sorted(chosen)) or text.NONE
        return shown + (f" ({', '.join(f'{lost.count(s)} {s}' for s in sorted(set(lost)))})" if lost else "")

    body = [
        [*heads(row), ", ".join(f"{lr:g}" for lr in tried(row)) or text.NONE]
        + [show(row.entry(task)) for task in section.tasks]
        for row in trained(section)
    ]
    return text.table(["method", "selector", "tried", *section.tasks], body, left=3)


def settings_table(section: Section) -> tuple[str, str]:
    """(settings that all rows share, in one line; a table of those that differ, empty where none do)."""
    flats = [text.flat(row.records[0]["cell"]["run_settings"]) for row in section.rows]
    keys = sorted({key for one in flats for key in one})
    shared = [k for k in keys if all(k in one and one[k] == flats[0].get(k) for one in flats)]
    own = [k for k in keys if k not in shared]
    resolved = [_resolved(row) for row in section.rows]
    headers = ["method", "selector", "estimator settings", "selector settings", *own, "auto became"]
    body = [
        [
            *heads(row),
            text.settings(row.records[0]["cell"]["estimator_settings"]),
            text.settings(row.records[0]["cell"]["selector_settings"]),
            *(text.value(one[k]) if k in one else text.NONE for k in own),
            used,
        ]
        for row, one, used in zip(section.rows, flats, resolved, strict=True)
    ]
    return text.settings({k: flats[0][k] for k in shared}), text.table(headers, body, left=len(headers))


def _resolved(row: MethodRow) -> str:
    """What the records say was really used, where it is not what was asked for: what `auto` became."""
    found = []
    for record in row.records:
        asked, used = record["cell"]["run_settings"], dict(record.get("engine", {}))
        if used:
            became = {k: v for k, v in used.items() if asked.get(k) != v}
            if became.get("prefix", 0) is None:  # no block below the scope, so nothing to say
                del became["prefix"]
            found.append(text.settings(became))
    return distinct(found)


def failure_table(section: Section) -> str:
    """The cells that did not end well: those of a method that failed alike in one line, with their one-line error."""
    rows = []
    for row in section.rows:
        alike: dict[tuple[str, str], list[Record]] = {}
        for record in row.records:
            if record["status"] != "ok":
                said = text.sentence(record["error"] or text.NONE)
                alike.setdefault((record["status"], said), []).append(record)
        for (status, said), some in alike.items():
            tasks = ", ".join(sorted({r["cell"]["task"] for r in some}))
            seeds = ", ".join(map(str, sorted({r["cell"]["seed"] for r in some})))
            rows.append([*heads(row), str(len(some)), tasks, seeds, status, said])
    return text.table(["method", "selector", "cells", "tasks", "seeds", "status", "what happened"], rows, left=7)
