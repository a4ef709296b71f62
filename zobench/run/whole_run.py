"""A whole run: load the model, plan the cells, leave out the done ones, run the rest, write the board."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ZobenchError
from ..paths import check_becomes_folder, is_folder
from ..plugins.discovery import describe_fault
from ..report import leaderboard, packed, store
from ..report.disk import sweep
from ..report.judge import settled
from ..report.plain import canonical
from ..report.swap import refusal
from .account import Account
from .cell_runner import Runner
from .plan import Identity, Wish, expand, route
from .progress import Progress
from .refusals import runnable
from .session import Session, Where
from .tuning import Later, check_roles, first

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..report.record import Record
    from ..tasks.source import Pools

Rerun = Literal["missing", "failed", "always"]


@dataclass(frozen=True)
class Place:
    """Where a run finds things and leaves them."""

    model: str = "embedded"
    data_dir: Path | None = None
    results: Path = Path("runs")
    device: str = "auto"
    offline: bool = False
    executor: str = "local"
    rerun: Rerun = "missing"


@dataclass
class Plan:
    """The cells of a run: those to do, and the records of those that are done."""

    session: Session
    todo: list[Cell]
    done: dict[str, Record] = field(default_factory=dict)
    later: Later | None = None
    """What runs at the rates that these cells choose."""
    faults: list[str] = field(default_factory=list)
    """What the executor did with cells that it may not (lost, repeated or invented one); methods without a rate."""
    retried: dict[str, str] = field(default_factory=dict)  # of those to do, what of the machine failed them before


def make_plan(wish: Wish, place: Place, plugins: Plugins) -> Plan:
    """Check every name and setting before anything heavy is loaded, then load the model and the data's revisions."""
    spare = _of_all(wish, plugins)
    wish = replace(
        wish,
        estimators=expand(wish.estimators, plugins.names("estimators"), "estimator"),
        selectors=expand(wish.selectors, plugins.names("selectors"), "selector"),
        tasks=expand(wish.tasks, plugins.names("tasks"), "task"),
    )
    plugins.executor(place.executor)
    check_becomes_folder(place.results, "--results")
    check_data_dir(place)
    routed = route(wish, plugins)
    loaded = load(place, plugins, routed.computation.dtype)
    _check_model(loaded)
    reload = partial(load, replace(place, device="cpu"), plugins, routed.computation.dtype)
    session = Session(loaded, plugins, data_source(place, loaded), place.offline, reload)
    pools = {task: session.data(task) for task in wish.tasks}
    identity = Identity(
        model=loaded.name,
        model_revision=loaded.revision,
        data=next(iter(pools.values())).data,
        task_versions={task: session.task(task).version for task in wish.tasks},
        data_revisions={task: _data_revision(p) for task, p in pools.items()},
        model_plugin=place.model if place.model in plugins.names("models") else None,
        own_data={task: p.data for task, p in pools.items()},
    )
    planned, later = first(wish, routed, plugins, identity)
    further = [] if later is None else later.expected(plugins)
    can = {id(cell) for cell in runnable([*planned, *further], session, spare=spare)}
    if later is not None:
        later = later.only([cell for cell in further if id(cell) in can])
    plan = Plan(session, [], later=later)
    plan.todo = _add(plan, [cell for cell in planned if id(cell) in can], place)
    return plan


def _add(plan: Plan, planned: Sequence[Cell], place: Place) -> list[Cell]:
    """Of these cells those that are to do; the plan hears of the records of the others, and of what failed before."""
    plugins = plan.session.plugins
    known = _known(place.results, {cell.id for cell in planned}, plugins)
    check_roles(planned, known)
    _check_kin(planned, known.values(), place.results)
    _tell_of_changed_code(planned, known, plugins)
    done = {c.id: known[c.id] for c in planned if c.id in known and not _again(known[c.id], place.rerun)}
    if done:
        for problem in store.beside(place.results, done.values())[0]:
            plugins.warn(str(problem))
    todo = [c for c in planned if c.id not in done]
    plan.done |= done
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


def check_data_dir(place: Place) -> None:
    """ZobenchError where the user names a folder of data that is none."""
    if place.data_dir is not None and not is_folder(place.data_dir, "--data-dir"):
        raise ZobenchError(f"--data-dir {place.data_dir}: no such folder")


def data_source(place: Place, loaded: LoadedModel) -> Where:
    """The source of the data: the folder that the user names, else what the model declares."""
    check_data_dir(place)
    return loaded.data if place.data_dir is None else place.data_dir


def _check_model(loaded: LoadedModel) -> None:
    """ZobenchError for a model that no cell could use. Where memory runs out that is for the cells to say."""
    import torch

    from ..models.capabilities import check_causal

    with contextlib.suppress(torch.OutOfMemoryError, MemoryError):
        check_causal(loaded)


def load(place: Place, plugins: Plugins, dtype: str) -> LoadedModel:
    """The model by a plugin's name, which is its name in records; else from its folder or the hub.

    Raises ZobenchError for a function of a plugin that raises, or does not return a LoadedModel.
    """
    if place.model in plugins.names("models"):
        return _of_plugin(place, plugins, dtype)
    from ..models.load import load_model

    loaded = load_model(place.model, dtype=dtype, device=place.device, offline=place.offline)
    if loaded.left_out:
        plugins.warn(f"model {loaded.name}: {loaded.left_out}")
    return loaded


def _of_plugin(place: Place, plugins: Plugins, dtype: str) -> LoadedModel:
    from ..models.load import LoadedModel

    made, where = plugins.model(place.model), f"model {place.model!r} of {plugins.offer('models', place.model).by}"
    try:
        loaded: object = made(dtype=dtype, device=place.device)
    except (ZobenchError, MemoryError):
        raise
    except (Exception, SystemExit) as e:
        raise ZobenchError(f"{where} could not be loaded: {describe_fault(e)}") from e
    if not isinstance(loaded, LoadedModel):
        raise ZobenchError(f"{where}: its function returned {type(loaded).__name__}, not a zobench.LoadedModel")
    if not (isinstance(loaded.data, Path) or loaded.data in ("hub", "embedded")):
        raise ZobenchError(f"{where}: its data are {loaded.data!r}; write hub, embedded, or the Path of a folder")
    if isinstance(loaded.data, Path) and not is_folder(loaded.data, f"{where}: its data"):
        raise ZobenchError(f"{where}: its data {loaded.data}: no such folder")
    loaded.name = place.model
    return loaded


def _data_revision(pools: Pools) -> str:
    """A short hash of where the data came from: the hub's commit, or the contents of the files."""
    return hashlib.blake2b(json.dumps(pools.provenance, sort_keys=True).encode(), digest_size=6).hexdigest()


def _known(results: Path, planned: Set[str], plugins: Plugins) -> Mapping[str, Record]:
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


def _check_kin(planned: Sequence[Cell], known: Iterable[Record], results: Path) -> None:
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


def _tell_of_changed_code(planned: Sequence[Cell], known: Mapping[str, Record], plugins: Plugins) -> None:
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


def _again(record: Record, rerun: Rerun) -> bool:
    """Whether a cell with a record runs again: what did not come to its end always, what failed or all if asked."""
    return rerun == "always" or not settled(record) or (rerun == "failed" and record["status"] != "ok")


def execute(plan: Plan, place: Place, progress: Progress) -> list[Record]:
    """Run the cells that are to do, and return their records; their files lie in `results`."""
    plugins = plan.session.plugins
    try:
        (place.results / store.CELLS).mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise ZobenchError(f"--results {place.results}: cannot be made a folder of records: {e.strerror}") from e
    for folder in (place.results, place.results / store.CELLS):
        sweep(folder)
    records: list[Record] = []
    _carry_out(plan.todo, plan, place, progress, records)
    if plan.later is not None:
        by_id = {**plan.done, **{record["id"]: record for record in records}}
        planned, lost = plan.later.cells(by_id, plugins)
        plan.faults += lost
        todo = _add(plan, planned, place)
        progress.more(len(todo))
        _carry_out(todo, plan, place, progress, records)
    return records


def _carry_out(todo: Sequence[Cell], plan: Plan, place: Place, progress: Progress, records: list[Record]) -> None:
    plugins, runner = plan.session.plugins, Runner(plan.session, place.results, progress)
    account = Account(place.executor, todo, lambda id_: store.find(place.results, id_) is not None)
    made: list[Record] = []
    plugins.fire_run_start(cells=[dict(cell.key()) for cell in todo])
    try:
        with progress:
            spread = plugins.executor(place.executor)
            for record in account.follow(lambda: spread().run(list(todo), runner)):
                made.append(record)
                records.append(record)
    finally:
        plan.faults += account.faults
        plugins.fire_run_end(records=made)


def board(plan: Plan, place: Place) -> str:
    """The leaderboard of everything in the results folder, written beside the records."""
    every, problems = store.read(place.results)
    columns = plan.session.plugins.leaderboard_columns()
    text = leaderboard.render(every, columns=columns, split_protocols=True, problems=problems)
    store.write_text(place.results / store.BOARD, text)
    return text
