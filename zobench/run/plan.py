"""The plan of a run: its cells, found without loading a model, and of these those that are to do."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..models.outline import Outline, planned_device
from ..paths import check_becomes_folder
from ..plugins.along import descends_gradients, takes_none
from ..report import packed, store
from ..report.judge import mark, settled
from ..report.swap import refusal
from . import kin
from .along import of_settings
from .cells import Identity
from .device_defaults import for_device
from .first_order import examples
from .place import Place, Rerun, check_data_dir, data_source, outlined
from .refusals import runnable
from .routing import Routed, executor_settings, route
from .session import Session
from .tuning import Later, check_roles, first
from .wish import Wish, expand
from .work import Order, RunInProcess

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..protocol.protocol import Computation
    from ..report.record import Record
    from ..tasks.source import Pools


@dataclass
class RunPlan:
    """The cells of a run: those to do, and the records of those that are done."""

    run_cell: RunInProcess
    todo: list[Cell]
    done: dict[str, Record] = field(default_factory=dict)
    later: Later | None = None
    """What runs at the rates that these cells choose."""
    faults: list[str] = field(default_factory=list)
    """What the executor did with cells that it may not (lost, repeated or invented one); methods without a rate."""
    retried: dict[str, str] = field(default_factory=dict)  # of those to do, what of the machine failed them before
    beside: set[str] = field(default_factory=set)
    """Records of the same models, tasks, methods and seeds as cells to do, at other settings."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    """The cells that other processes run, and which."""
    outline: Session | None = None
    """The model without its weights and the data, which the cells were planned with."""

    @property
    def plugins(self) -> Plugins:
        """What is loaded."""
        return self.run_cell.plugins

    @property
    def session(self) -> Session:
        """The model and its tasks in this process: loaded now if need be."""
        return self.run_cell.session


def make_plan(wish: Wish, place: Place, plugins: Plugins, outline: Session | None = None) -> RunPlan:
    """Check every name and setting before anything heavy is loaded; then the cells, by the model's outline and data.

    No weights are loaded, but those of a model that a plugin makes. outline: what is known of the model and the data,
    where that is not to be looked up (a shape).
    """
    spare = _of_all(wish, plugins)
    wish = _expanded(wish, plugins, plugins.warn)
    check_becomes_folder(place.results, "--results")
    check_data_dir(place)
    wish, spread = executor_settings(wish, plugins, place.executor)
    routed = for_device(route(wish, plugins, place.model), wish, plugins, _kind(place, outline))
    session = outline or outline_of(place, plugins, routed.computation.dtype)
    loaded = session.loaded
    pools = {task: session.data(task) for task in wish.tasks}
    identity = Identity(
        model=loaded.name,
        model_revision=loaded.revision,
        data=next(iter(pools.values())).data,
        task_versions={task: session.task(task).version for task in wish.tasks},
        data_revisions={task: _data_revision(p) for task, p in pools.items()},
        model_plugin=place.model if place.model in plugins.names("models") else None,
        own_data={task: p.data for task, p in pools.items()},
        train_sizes=_train_sizes(routed, session, wish, plugins),
    )
    planned, later = first(wish, routed, plugins, identity)
    further = [] if later is None else later.expected(plugins)
    can = {id(cell) for cell in runnable([*planned, *further], session, spare=spare)}
    if later is not None:
        later = later.only([cell for cell in further if id(cell) in can])
    named = replace(place.anywhere(plugins.names("models")), spread=spread)
    files = tuple(os.path.abspath(os.path.expanduser(file)) for file in plugins.files)
    order = Order(named, loaded.dtype, files, plugins.only, loaded.weights_bytes, asked=routed.computation.dtype)
    run_cell = RunInProcess(order, plugins)
    run_cell.knows(None if isinstance(loaded, Outline) else loaded, session.pools)
    plan = RunPlan(run_cell, [], later=later, outline=session)
    plan.todo = add(plan, share([cell for cell in planned if id(cell) in can], place.shard), place)
    return plan


def _expanded(wish: Wish, plugins: Plugins, tell: Callable[[str], None]) -> Wish:
    """The wish with the names that its words stand for."""
    asked = wish.estimators
    wish = replace(
        wish,
        estimators=expand(wish.estimators, plugins.names("estimators"), "estimator", plugins.names("directions")),
        selectors=expand(wish.selectors, plugins.names("selectors"), "selector"),
        tasks=expand(wish.tasks, plugins.names("tasks"), "task"),
    )
    return of_settings(wish, lambda name: takes_none(plugins.estimator(name)), tell, asked)


def computed(wish: Wish, place: Place, plugins: Plugins) -> Computation:
    """How the cells of this wish will be computed. Raises ZobenchError as `make_plan` does for names and settings."""
    mine, _ = executor_settings(_expanded(wish, plugins, lambda line: None), plugins, place.executor)
    return for_device(route(mine, plugins), mine, plugins, _kind(place)).computation


def _kind(place: Place, outline: Session | None = None) -> str:
    """The type of device whose defaults hold."""
    if place.defaults_of is not None:
        return place.defaults_of
    return planned_device(place.device).type if outline is None else outline.loaded.device.type


def outline_of(place: Place, plugins: Plugins, dtype: str) -> Session:
    """The model without its weights, and the data."""
    loaded = outlined(place, plugins, dtype)
    return Session(loaded, plugins, data_source(place, loaded, plugins), place.offline)


def share(planned: Sequence[Cell], shard: tuple[int, int]) -> list[Cell]:
    """The i-th of n shares of the cells: every n-th, so that shares have tasks and methods alike. It does not depend on
    what is done already.
    """
    i, n = shard
    return [cell for at, cell in enumerate(planned) if at % n == i - 1]


def add(plan: RunPlan, planned: Sequence[Cell], place: Place) -> list[Cell]:
    """Of these cells those that are to do; the plan hears of the records of the others, and of what failed before."""
    plugins = plan.plugins
    known = known_records(place.results, {cell.id for cell in planned}, plugins)
    check_roles(planned, known)
    kin.check(planned, known.values(), place.results)
    kin.tell_of_changed_code(planned, known, plugins)
    done = {c.id: known[c.id] for c in planned if c.id in known and not _again(known[c.id], place.rerun)}
    if done:
        for problem in store.beside(place.results, done.values())[0]:
            plugins.warn(str(problem))
    todo = [replace(c, before=mark(known.get(c.id))) for c in planned if c.id not in done]
    plan.done |= done
    plan.beside |= kin.at_other_settings(planned, known)
    plan.retried |= {c.id: known[c.id]["retry"] for c in todo if "retry" in known.get(c.id, {})}
    return todo


def _of_all(wish: Wish, plugins: Plugins) -> Callable[[Cell], bool]:
    """Whether a cell has its estimator or its task from an `all`, and not by its own name."""
    every = [
        set(names) if "all" in names and "all" not in plugins.names(kind) else None
        for kind, names in (("estimators", wish.estimators), ("tasks", wish.tasks))
    ]

    def spare(cell: Cell) -> bool:
        mine = (cell.estimator, cell.task)
        return any(named is not None and name not in named for named, name in zip(every, mine, strict=True))

    return spare


def _train_sizes(routed: Routed, session: Session, wish: Wish, plugins: Plugins) -> dict[str, int]:
    """Training examples by task, where methods of this wish count their steps in epochs."""
    if not routed.first_order.epochs or not any(descends_gradients(plugins.estimator(e)) for e in wish.estimators):
        return {}
    rules = routed.first_order.protocol
    return {task: examples(session.task(task), session.data(task), rules) for task in wish.tasks}


def _data_revision(pools: Pools) -> str:
    """A short hash of where the data came from: the hub's commit, or the contents of the files."""
    return hashlib.blake2b(json.dumps(pools.provenance, sort_keys=True).encode(), digest_size=6).hexdigest()


def known_records(results: Path, planned: Set[str], plugins: Plugins) -> Mapping[str, Record]:
    """The records that are there. One that is none, or was changed, is told of, and counts as missing.

    ZobenchError where a planned cell's may be a good one, which this zobench cannot read: it is never replaced.
    """
    if not store.is_results(results):
        return {}
    records, problems = store.read(results)
    for problem in problems:
        mine = problem.cell in planned
        if (mine or problem.file == packed.RECORDS) and (why := refusal(problem)) is not None:
            raise ZobenchError(f"--results {results}: {why}")
        lies = problem.file.startswith(f"{store.CELLS}/")
        kept = f", and this is kept as {store.CELLS}/*.aside" if lies else ""
        plugins.warn(f"{problem.file}: {problem.why}; its cell runs again{kept}" if mine else str(problem))
    return {r["id"]: r for r in records}


def _again(record: Record, rerun: Rerun) -> bool:
    """Whether a cell with a record runs again: what did not come to its end always, what failed or all if asked."""
    return rerun == "always" or not settled(record) or (rerun == "failed" and record["status"] != "ok")
