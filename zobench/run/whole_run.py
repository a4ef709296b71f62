"""A planned run carried out: its cells by the executor, the cells that their learning rates bring, the board."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..plugins import declared
from ..report import cleaning, disk, leaderboard, progress_of_grid, running, store
from ..report.known import filled
from ..report.web import page
from . import events
from .account import Account, made_executor
from .place import Place, check_map
from .plan import RunPlan, add, known_records, share
from .progress import Progress

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.record import Record

LOOK_S = 2.0
"""Seconds between two looks at cells that other processes run, where the next ones wait for them."""


def prepare(plan: RunPlan, place: Place) -> None:
    """Let the executor do what may fail before anything is printed or written, such as loading the model.

    Raises ZobenchError if no cell could run.
    """
    check_map(plan.run_cell.order.place, plan.plugins)
    if plan.todo or plan.later is not None:
        spread = made_executor(plan.plugins, place.executor, plan.run_cell.order.place.spread)
        if hasattr(spread, "prepare"):
            spread.prepare(plan.todo, plan.run_cell)


def execute(plan: RunPlan, place: Place, progress: Progress) -> list[Record]:
    """Run the cells that are to do, and return their records; their files lie in `results`."""
    plugins = plan.plugins
    try:
        (place.results / store.CELLS).mkdir(parents=True, exist_ok=True)
        events.begin(plan.run_cell.order.live)
    except OSError as e:
        raise ZobenchError(f"--results {place.results}: cannot be made a folder of records: {e.strerror}") from e
    cleaning.sweep(place.results)
    events.sweep(place.results)
    _write_plan(place, plan.todo)
    records: list[Record] = []
    _carry_out(plan.todo, plan, place, progress, records)
    _look_again(plan.todo, plan, place, progress, records, wait=plan.later is not None)
    if plan.later is not None:
        by_id = {**plan.done, **{record["id"]: record for record in records}}
        if place.shard != (1, 1):
            by_id = {**known_records(place.results, set(), plugins), **by_id}
            if waiting := sum(cell.id not in by_id for cell in plan.later.tuning):
                plan.faults.append(
                    f"{waiting} cells that choose learning rates are of other shards and not done: the same command "
                    "runs the cells that are reported when they are"
                )
                return records
        planned, lost = plan.later.cells(by_id, plugins)
        plan.faults += lost
        todo = add(plan, share(planned, place.shard), place)
        progress.more(len(todo))
        _write_plan(place, todo)
        _carry_out(todo, plan, place, progress, records)
        _look_again(todo, plan, place, progress, records, wait=False)
    progress_of_grid.settle(place.results)
    return records


def _write_plan(place: Place, todo: Sequence[Cell]) -> None:
    with disk.writing(place.results, "what is planned"):
        progress_of_grid.plan(place.results, [{"id": c.id, **c.key()} for c in todo])


def _look_again(
    cells: Sequence[Cell], plan: RunPlan, place: Place, progress: Progress, records: list[Record], *, wait: bool
) -> None:
    """Take up the cells that other processes had: their records, or the cells where a process died.

    wait: until none is left; their records decide what comes next.
    """
    while plan.elsewhere:
        held = running.holders(place.results / running.FOLDER)
        free = [c for c in cells if c.id in plan.elsewhere and (c.id not in held or held[c.id].dead)]
        for cell in free:
            del plan.elsewhere[cell.id]
        if free:
            _carry_out(free, plan, place, progress, records)
        elif not wait:
            return
        else:
            progress.phase(f"waiting for {len(plan.elsewhere)} cells that other processes run")
            time.sleep(LOOK_S)


def _carry_out(todo: Sequence[Cell], plan: RunPlan, place: Place, progress: Progress, records: list[Record]) -> None:
    plugins, run_cell = plan.plugins, plan.run_cell
    run_cell.reports = progress
    account = Account(place.executor, todo, lambda id_: store.find(place.results, id_) is not None)
    made: list[Record] = []
    plugins.fire_run_start(cells=[dict(cell.key()) for cell in todo])
    try:
        with progress, events.Listener(run_cell.order.live, progress):
            settings = run_cell.order.place.spread
            for record in account.follow(
                lambda: made_executor(plugins, place.executor, settings).run(list(todo), run_cell)
            ):
                if "elsewhere" in record:
                    plan.elsewhere[record["id"]] = record["elsewhere"]
                    continue
                made.append(record)
                records.append(record)
    finally:
        plan.faults += account.faults
        plugins.fire_run_end(records=made)


def board(plan: RunPlan, place: Place, most_bytes: int | None = None) -> leaderboard.Board:
    """The leaderboard of everything in the results folder, written beside the records.

    What is returned is of those methods alone that took at most `most_bytes`, where that is given.
    """
    every, problems = store.read(place.results)
    columns = plan.plugins.leaderboard_columns()
    known = declared.known(plan.plugins)
    make = partial(leaderboard.board, filled(every, known), known=known, columns=columns, split_protocols=True)
    made = make(problems=problems)
    with disk.writing(place.results, "the board"):
        store.write_text(place.results / store.BOARD, made.markdown)
        page.write(place.results / page.PAGE, made, page.losses_of(place.results))
    return made if most_bytes is None else make(problems=problems, most_bytes=most_bytes)
