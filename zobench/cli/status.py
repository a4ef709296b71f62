"""`zobench status`: how far the cells of a results folder are, from any machine that sees it. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, print_json, print_table
from .failures import NEXT

if TYPE_CHECKING:
    from ..report.progress_of_grid import GridProgress
    from ..report.running import Holder

SHOWN = 12
"""Cells of a kind that are listed; the others are counted."""


def status(
    results: Annotated[Path, typer.Argument(help="A results folder.", metavar="DIR")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """What is done, what runs where, what failed, what is left, and how long that takes.

    Cells are left where a run of this folder planned them and was stopped: the same command goes on with them.
    """
    from ..report.progress_of_grid import look

    found = look(results)
    if as_json:
        print_json(_plain(found))
        return
    counted = [f"{len(found.done)} done", f"{len(found.running)} running", f"{len(found.failed)} failed"]
    counted += [f"{len(found.left)} left" + (f" ({len(found.begun)} of them begun)" if found.begun else "")]
    print(f"{results}: {', '.join(counted)}{_to_go(found)}")
    if found.running:
        rows = [[cell, str(one), _doing(one), f"{one.silent_s:.0f} s ago"] for cell, one in found.running.items()]
        print()
        print_table(["running", "on", "doing", "last sign of life"], rows)
    if found.failed:
        rows = [[cell, r["status"], r["error"] or ""] for cell, r in list(found.failed.items())[:SHOWN]]
        print()
        print_table(["failed", "status", "why"], rows)
        _more(len(found.failed))
        ends = {r["status"] for r in found.failed.values()}
        print("\n".join(line for status, line in NEXT.items() if status in ends))
    if found.left:
        rows = [[cell, "begun" if cell in found.begun else ""] for cell in list(found.left)[:SHOWN]]
        print()
        print_table(["left", ""], rows)
        _more(len(found.left))
        if not found.running:
            print("The command of the run, given again, goes on with these.")


def _more(n: int) -> None:
    if n > SHOWN:
        print(f"... and {n - SHOWN} more")


def _to_go(found: GridProgress) -> str:
    if found.to_go_s is None or not (found.left or found.running):
        return ""
    minutes = round(found.to_go_s / 60)
    clock = f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{max(1, minutes)} min"
    at = f"{len(found.running)} processes" if len(found.running) != 1 else "one process"
    return f"; about {clock} to go with {at if found.running else 'one process'}"


def _doing(one: Holder) -> str:
    facts = one.facts
    if "step" in facts:
        return f"lr {facts['lr']:g}, step {facts['step']} of {facts['steps']}"
    return str(facts.get("doing", ""))


def _plain(found: GridProgress) -> dict[str, Any]:
    return {
        "done": sorted(found.done),
        "running": {cell: {**one.facts, "silent_s": one.silent_s} for cell, one in found.running.items()},
        "failed": {cell: {"status": r["status"], "error": r["error"]} for cell, r in found.failed.items()},
        "left": sorted(found.left),
        "begun": sorted(found.begun),
        "to_go_s": found.to_go_s,
    }
