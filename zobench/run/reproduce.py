"""A paper's tables as cells: every row with the paper's grid, for any model; planned and run as `zobench run` does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..plugins import declared, expressions
from ..report.papers import PrintedRow, PrintedTable
from ..report.record import NO_SELECTOR
from .first_order import examples
from .place import check_data_dir
from .plan import computed, make_plan, outline_of
from .routing import fault_of, route
from .session import Session
from .wish import Wish, expand

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.papers import Paper, PrintedGrid
    from .place import Place
    from .plan import RunPlan

BUDGETS: Mapping[str, Mapping[str, str]] = {
    "paper": {},
    "small": {},
    "minutes": {
        "protocol.num_train": "64",
        "protocol.num_dev": "32",
        "protocol.num_test": "64",
        "protocol.batch_size": "4",
        "protocol.steps": "20",
        "protocol.eval_every": "10",
        "run.speed_steps": "3",
        "run.speed_warmup": "1",
    },
}
"""Settings on top of the preset: of `paper` its own and the paper's grids, else what `zobench run` takes."""

FROM_THE_END = re.compile(r"\{n-(\d+)\}")


@dataclass(frozen=True)
class Asked:
    """What is to be reproduced. `block`: stands for what first_outlier would choose. `tasks`: none for all."""

    tables: tuple[PrintedTable, ...]
    budget: str = "small"
    seeds: tuple[int, ...] = (0,)
    tasks: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    block: int | None = None


def elsewhere(
    table: PrintedTable,
    tasks: Sequence[str],
    *,
    seeds: tuple[int, ...],
    settings: Mapping[str, str],
    block: int | None,
    plugins: Plugins,
) -> Asked:
    """The rows of a table on any tasks (`all`), at the sizes of `zobench run`. ZobenchError for a task nobody has."""
    known = expand(tuple(tasks), plugins.names("tasks"), "task")
    return Asked((replace(table, on=known),), "small", seeds, (), settings, block)


@dataclass
class Reproduction:
    """Plans, one a dtype, so that each loads the model once; the tables, with their rows as they are run."""

    plans: list[RunPlan]
    tables: list[PrintedTable]

    @property
    def ids(self) -> set[str]:
        """Of all cells, to do or done."""
        return {cell.id for plan in self.plans for cell in plan.todo} | {i for plan in self.plans for i in plan.done}


def planned(
    paper: Paper,
    asked: Asked,
    place: Place,
    plugins: Plugins,
    outline: Callable[[str], Session] | None = None,
) -> Reproduction:
    """The cells of these tables. Raises ZobenchError for a task that no table has, and as planning a run does.

    outline: by dtype what is known of the model and the data, where that is not to be looked up (a shape).
    """
    check_data_dir(place)
    sessions: dict[str, Session] = {}

    def session_of(dtype: str) -> Session:
        if dtype not in sessions:
            sessions[dtype] = outline_of(place, plugins, dtype) if outline is None else outline(dtype)
        return sessions[dtype]

    session = session_of(_dtype(paper, asked))
    tables = [_for_model(table, len(session.loaded.blocks), paper, asked.block, plugins) for table in asked.tables]
    known = dict.fromkeys(task for table in tables for task in table.tasks)
    for task in asked.tasks:
        if task not in known:
            raise ZobenchError(f"--tasks {task}: these tables have {', '.join(known)}")
    merged: dict[str, RunPlan] = {}
    for wish in _wishes(paper, tables, asked, session, declared.usual_preset(plugins, place.model)):
        dtype = computed(wish, place, plugins).dtype
        plan = make_plan(wish, place, plugins, session_of(dtype))
        if dtype not in merged:
            merged[dtype] = plan
            continue
        first = merged[dtype]
        first.todo += [cell for cell in plan.todo if cell.id not in {c.id for c in first.todo}]
        first.done |= plan.done
        first.retried |= plan.retried
    return Reproduction(list(merged.values()), tables)


def _dtype(paper: Paper, asked: Asked) -> str:
    """One that cells will have: what is known of the model in it is needed anyway."""
    exact = {str(grid.protocol["dtype"]) for grid in paper.grids.values() if grid.protocol} or {"float32"}
    usual = min(exact, key=lambda dtype: dtype != "float16") if asked.budget == "paper" else "float32"
    return asked.settings.get("dtype", asked.settings.get("run.dtype", usual))


def _for_model(table: PrintedTable, n: int, paper: Paper, block: int | None, plugins: Plugins) -> PrintedTable:
    """The table with selectors of a model of n blocks; of a sweep as many blocks as it has."""
    rows = list(table.rows)
    if table.sweeps:
        first, last = rows[:2], rows[-1]
        rows = first + rows[2:][:n]
        further = range(len(rows) - len(first), n)
        rows += [
            replace(last, method=f"block {k}", runs=table.sweeps.replace("{k}", str(k)), scores={}) for k in further
        ]
    return replace(table, rows=tuple(replace(row, runs=_selector(row, n, paper, block, plugins)) for row in rows))


def _selector(row: PrintedRow, n: int, paper: Paper, block: int | None, plugins: Plugins) -> str:
    """The selector of a row in a model of n blocks. Raises ZobenchError for a block that it does not have."""

    def counted(found: re.Match[str]) -> str:
        index = n - int(found[1])
        if index < 0:
            raise ZobenchError(f"row {row.method!r} tunes the block {found[1]} from the end; the model has {n}")
        return str(index)

    terms = FROM_THE_END.sub(counted, row.runs).split("+")
    if block is not None and paper.block is not None:
        named = paper.block.named.replace("{k}", str(block))
        terms = [named if term == paper.block.finds else term for term in terms]
    said = "+".join(dict.fromkeys(terms))  # of a model so shallow that both are one block
    if said == NO_SELECTOR or not expressions.is_expression(said):
        return said
    return expressions.canonical(said, plugins.names("selectors"))


def _wishes(paper: Paper, tables: Sequence[PrintedTable], asked: Asked, session: Session, usual: str) -> list[Wish]:
    """One wish for each estimator and grid, with the selectors and tasks that its rows share."""
    cells: dict[tuple[str, str, str], list[str]] = {}
    for table in tables:
        for row in table.rows:
            for task in asked.tasks or table.tasks:
                if task in table.tasks:
                    cells.setdefault((row.grid, row.estimator, task), []).append(row.runs)
    alike: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for (grid, estimator, task), named in cells.items():
        alike.setdefault((grid, estimator, tuple(dict.fromkeys(named))), []).append(task)
    out: list[Wish] = []
    everything = declared.one(session.plugins, "everything", "--set")
    for (grid, estimator, selectors), tasks in alike.items():
        wish = Wish(
            (estimator,),
            tuple(everything if one == NO_SELECTOR else one for one in selectors),
            tuple(tasks),
            asked.seeds,
            "paper" if asked.budget == "paper" else usual,
        )
        out += _with_grid(wish, paper, paper.grids[grid], asked, session)
    _give_settings(out, asked, session.plugins)
    return out


def _with_grid(wish: Wish, paper: Paper, grid: PrintedGrid, asked: Asked, session: Session) -> list[Wish]:
    """The wish with its grid's settings: at the paper's budget, one for all tasks of the same rates and steps."""
    settings = {key: str(value) for key, value in (grid.settings or {}).items()} | dict(BUDGETS[asked.budget])
    if asked.block is not None and paper.block is not None:
        used = {name for one in wish.selectors for name in expressions.names(one)}
        settings |= {f"{who}.{key}": str(asked.block) for who, key in paper.block.settings.items() if who in used}
    if asked.budget != "paper":
        return [replace(wish, settings=settings)]
    for key, value in (grid.protocol or {}).items():
        settings["run.dtype" if key == "dtype" else f"protocol.{key}"] = str(value)
    by_rates: dict[str, list[str]] = {}
    for task in wish.tasks:
        by_rates.setdefault(",".join(f"{lr:g}" for lr in grid.lr_of.get(task, grid.lr)), []).append(task)
    out = []
    for rates, tasks in by_rates.items():
        own = settings | ({"run.lr": rates} if rates else {})
        out += _with_steps(replace(wish, tasks=tuple(tasks), settings=own), grid, asked, session)
    return out


def _with_steps(wish: Wish, grid: PrintedGrid, asked: Asked, session: Session) -> list[Wish]:
    """The wish; one for each task where steps are counted in epochs."""
    if not grid.epochs:
        return [wish]
    out = []
    for task in wish.tasks:
        settings = wish.settings
        epoch = math.ceil(_train_size(wish, task, session, asked) / int(settings["protocol.batch_size"]))
        steps = {"protocol.steps": str(grid.epochs * epoch), "protocol.eval_every": str(epoch)}
        out.append(replace(wish, tasks=(task,), settings={**settings, **steps}))
    return out


def _train_size(wish: Wish, task: str, session: Session, asked: Asked) -> int:
    """Training examples of a task under the protocol that its cells will have."""
    rules = route(replace(wish, settings={}), session.plugins).protocol
    given = {key: int(asked.settings[key]) for key in ("num_train", "num_dev") if key in asked.settings}
    return examples(session.task(task), session.data(task), replace(rules, **given))  # type: ignore[arg-type]


def _give_settings(wishes: list[Wish], asked: Asked, plugins: Plugins) -> None:
    """Give every setting of the user to the wishes that have an owner for it. ZobenchError where none has."""
    for key, value in asked.settings.items():
        faults = [fault_of(key, wish, plugins) for wish in wishes]
        if wishes and all(fault is not None for fault in faults):
            raise faults[0]  # type: ignore[misc]
        for at, (wish, fault) in enumerate(zip(wishes, faults, strict=True)):
            if fault is None:
                wishes[at] = replace(wish, settings={**wish.settings, key: value})
