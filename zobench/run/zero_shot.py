"""The scores of the untouched model, once for all processes that share a results folder: `DIR/zero_shot/<hash>.json`.

A score is of a model, a task and its data, the protocol, and the machine as far as numbers depend on it. Whoever needs
it first claims it as cells are claimed; the others wait for it. What is no whole score of those is taken anew.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..protocol.cell import NUMERICS
from ..report import untouched
from ..report.running import Claim
from ..tasks.score import Score
from . import stopping
from .unchanged import ModelChanged

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..tasks.prepared import PreparedTask
    from ..tasks.score import Progress
    from .held_cell import HeldCell
    from .ranks import Ranks
    from .session import Session
    from .unchanged import Guard

OF_THE_CELL = ("model", "model_revision", "task", "task_version", "data", "data_revision", "code")
"""What of a cell a score of the untouched model may depend on, beside its protocol and the dtype."""
LOOK_S = 0.5
"""Seconds between two looks for a score that another process takes."""


def facts(cell: Cell, prepared: PreparedTask, machine: Mapping[str, Any]) -> dict[str, Any]:
    """All that the score depends on. machine: what must be equal for numbers to be, as of a journal."""
    key: dict[str, Any] = {**cell.key()}
    own = {name: key[name] for name in OF_THE_CELL if name in key}
    how = {
        "dtype": cell.computation.dtype,
        "rows": prepared.rows,
        "scored_in": prepared.scored_in,
        "numerics": NUMERICS,
    }
    made: dict[str, Any] = json.loads(json.dumps({**own, **how, "protocol": cell.protocol.record(), **machine}))
    return made


def taken(
    session: Session, cell: Cell, prepared: PreparedTask, work: HeldCell, guard: Guard, progress: Progress
) -> Score:
    """The test score of the model as it was loaded, for a cell. ModelChanged where taking it changed the model."""
    of = facts(cell, prepared, work.machine)
    kept = partial(shared, work.results, of, run=work.run, anew=work.asked_anew, waits=work.check)
    if session.ranks is not None:
        kept = partial(_on_all, session.ranks, work.results, of, work.run, work.asked_anew)
    try:
        with guard.watching("scoring the untouched model"):
            return session.untouched(cell.task, cell.protocol, prepared, progress, kept)
    except ModelChanged:
        session.zero_shot.clear()
        forget(work.results, of)
        raise


def _on_all(
    ranks: Ranks, results: Path, of: Mapping[str, Any], run: str | None, anew: bool, take: Callable[[], Score]
) -> Score:
    """As `shared` for processes that take it together; the first one of them reads and writes."""
    path = untouched.path_of(results, of)
    known: Score | None = ranks.told("zero-shot", _read(path, run if anew else None) if ranks.rank == 0 else None)
    if known is None:
        known = take()
        if ranks.rank == 0:
            untouched.write(path, of, run, asdict(known))
    return known


def shared(
    results: Path,
    of: Mapping[str, Any],
    take: Callable[[], Score],
    *,
    run: str | None,
    anew: bool,
    waits: Callable[[], None] = lambda: None,
) -> Score:
    """The score that lies in the folder; else the one that `take` gives, which lies there then.

    run: names the present run; anew: one of another run does not count (`--rerun always`). waits: called while another
    process takes the score; what it raises ends the waiting. Where the folder takes no file, the score stands alone.
    """
    path = untouched.path_of(results, of)
    while True:
        if (known := _read(path, run if anew else None)) is not None:
            return known
        try:
            claim = Claim.take(path.parent, path.stem)
        except OSError:
            return take()
        if isinstance(claim, Claim):
            break
        waits()
        time.sleep(LOOK_S)
    try:
        if (known := _read(path, run if anew else None)) is None:  # by the one who had the claim before
            known = take()
            untouched.write(path, of, run, asdict(known))
        return known
    finally:
        with stopping.held():
            claim.release()


def forget(results: Path, of: Mapping[str, Any]) -> None:
    """Remove the score: what took it did more than look."""
    with contextlib.suppress(OSError):
        untouched.path_of(results, of).unlink()


def _read(path: Path, run: str | None) -> Score | None:
    """The score in a file, where it is whole, of what its name says and (if said) of this run."""
    said = untouched.read(path)
    if said is None or run not in (None, said["run"]):
        return None
    try:
        return Score(**said["score"])
    except TypeError:  # of another zobench
        return None
