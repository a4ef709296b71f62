"""`zobench run`: cells from the product of the flags, and a leaderboard at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..deferred import uncollected
from ..engine import AUTO, ENGINES
from ..errors import ZobenchError
from .common import DataDir, Device, DeviceMap, Dtype, ModelName, Offline, PluginFiles, PresetName, plugins_of
from .run_config import as_toml, keep
from .run_options import (
    ConfigFile,
    ForDevice,
    Jobs,
    OwnData,
    Ranks,
    Shard,
    Timeout,
    Track,
    add_options,
    duration_of,
    elsewhere_of,
    jobs_of,
    settings_of,
    shard_of,
    usual,
    wish_of,
)

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..run.place import Place
    from ..run.plan import RunPlan
    from ..run.ranks import Ranks as Ranked
    from ..run.session import Session
    from ..run.wish import Wish


class Rerun(StrEnum):
    """Which cells that have a record run again."""

    missing = "missing"
    failed = "failed"
    always = "always"


MaxMemory = Annotated[
    str | None,
    typer.Option(help="Leave out cells that hold more (16GB, 24GiB); the board shown is of what fits.", metavar="SIZE"),
]


def run(
    context: typer.Context,
    estimator: Annotated[
        str, typer.Option("--estimator", "-e", help="Estimators, comma separated, or `all` (zobench ls estimators).")
    ],
    selector: Annotated[
        str | None,
        typer.Option("--selector", "-s", help="Comma separated (zobench ls selectors); `a+b`: both. [all weights]"),
    ] = None,
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Tasks, comma separated, or `all`.")] = "all",
    model: ModelName = None,
    data_dir: DataDir = None,
    data: OwnData = None,
    text: Annotated[str | None, typer.Option(help="With --data: the columns of text, comma separated.")] = None,
    label: Annotated[str | None, typer.Option(help="With --data: the column of labels.")] = None,
    prompt: Annotated[str | None, typer.Option(help="With --data: the prompt, such as '{review} It was'.")] = None,
    words: Annotated[str | None, typer.Option(help="With --data: labels in words, 0=bad,1=good.")] = None,
    results: Annotated[Path, typer.Option(help="Where records and the board go.", metavar="DIR")] = Path("runs"),
    seeds: Annotated[str, typer.Option(help="Seeds of batch order and directions, comma separated.")] = "0",
    tune_seeds: Annotated[str | None, typer.Option(help="Seeds that choose the learning rate, never reported.")] = None,
    split_seeds: Annotated[str | None, typer.Option(help="Data splits: every cell on each (data_seed).")] = None,
    preset: PresetName = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the preset's.", min=1)] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", help="Learning rates, comma separated: each is tried, dev chooses.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting: eps=1e-2, layer.index=1,30, loss_dtype=float32."),
    ] = None,
    device: Device = "auto",
    device_map: DeviceMap = "auto",
    dtype: Annotated[Dtype | None, typer.Option(help="Of the weights; float32 if nothing is said.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join((AUTO, *ENGINES))}.")] = None,
    jobs: Jobs = None,
    ranks: Ranks = 1,
    executor: Annotated[str, typer.Option(help="How cells are spread (zobench ls executors).")] = "local",
    shard: Shard = None,
    timeout: Timeout = None,
    rerun: Annotated[Rerun, typer.Option(help="Which cells that have a record run again.")] = Rerun.missing,
    offline: Offline = False,
    track: Track = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the cells, their forwards and time; no weights are loaded.")
    ] = False,
    for_device: ForDevice = None,
    max_memory: MaxMemory = None,
    plugin: PluginFiles = None,
    config: ConfigFile = None,
) -> None:
    """Fine-tune and evaluate: every estimator x selector x task x seed, then the leaderboard."""
    elsewhere = elsewhere_of(for_device, device_map, dry_run=dry_run)
    own = None if data is None else _own(data, text, label, prompt, words, results)
    if own is not None:
        plugin, tasks = [*(plugin or ()), own], own.stem if tasks == "all" else f"{tasks},{own.stem}"
    plugins = plugins_of(plugin)
    settings = settings_of(context, set_, steps, dtype, engine, lr)
    if jobs is not None:
        add_options(settings, (f"{executor}.jobs", jobs_of(jobs)))
    model, selector, preset = usual(plugins, model, selector, preset)
    wish = wish_of((estimator, selector, tasks), (seeds, tune_seeds, split_seeds), preset, settings)
    from ..run.place import Place

    _observe(plugins, track, results)
    place = Place(model, data_dir, results, device, offline, executor, rerun.value, shard=shard_of(shard))
    place = replace(place, timeout=duration_of(timeout), device_map=device_map)
    place = place if elsewhere is None else place.elsewhere()
    with nullcontext() if dry_run else _joined(ranks, executor, jobs) as group:
        _run(wish, place, plugins, as_toml(context), max_memory, elsewhere=elsewhere, dry_run=dry_run, ranks=group)


def _observe(plugins: Plugins, track: str | None, results: Path) -> None:
    """Have a tracker hear of the run, where one is named."""
    if track is not None:
        from ..run.track import Tracking

        plugins.observe(f"--track {track}", Tracking(track, results))


@contextmanager
def _joined(ranks: int, executor: str, jobs: str | None) -> Iterator[Ranked | None]:
    """The processes that run each cell together; one that is not the first of them ends here, when all is done."""
    launched = "TORCHELASTIC_RUN_ID" in os.environ
    if ranks == 1 and not launched:
        yield None
        return
    if executor != "local" or jobs not in (None, "1"):
        raise ZobenchError("--ranks: cells that run in several processes run one after the other; leave --jobs out")
    from ..run.group import joined, led

    with joined(0 if launched and ranks == 1 else ranks) as group:
        if group is not None and group.rank:
            raise typer.Exit(led(group))
        try:
            yield group
        finally:
            if group is not None:
                group.stop()


def _own(data: Path, text: str | None, label: str | None, prompt: str | None, words: str | None, results: Path) -> Path:
    """The task of a table, as a plugin under the results folder."""
    from .own_task import task_of, write

    return write(task_of(data, text, label, prompt=prompt, words=words), results / "data", replace=True)


def _run(
    wish: Wish,
    place: Place,
    plugins: Plugins,
    options: str,
    max_memory: str | None,
    *,
    dry_run: bool,
    elsewhere: tuple[str, str] | None,
    ranks: Ranked | None = None,
) -> None:
    with uncollected():
        from ..report.memory import parsed
        from ..run.account import begin
        from ..run.plan import make_plan
        from ..run.stopping import Stopped, stoppable
        from .dry_run import keep_fitting, show
    try:
        with stoppable():
            if not dry_run:
                begin(wish, plugins, place.executor)
            plan = make_plan(wish, place, plugins, _of_shape(wish, place, plugins, dry_run=dry_run))
            if max_memory is not None:
                keep_fitting(plan, max_memory)
            if dry_run:
                show(plan, *(elsewhere or (None, place.device_map)))
            else:
                if ranks is not None:
                    _led_by(plan, ranks)
                _execute(plan, place, wish, options, None if max_memory is None else parsed(max_memory))
    except Stopped as stopped:
        say(f"zobench: {stopped}")
        raise typer.Exit(stopped.status) from None


def _led_by(plan: RunPlan, ranks: Ranked) -> None:
    """Have cells run on all ranks. ZobenchError for one that cannot."""
    from ..run.group import check

    assert plan.outline is not None
    if plan.run_cell.order.place.device_map not in ("auto", "none"):
        raise ZobenchError("--ranks: each rank has the whole model on a GPU of its own; leave --device-map out")
    check(plan.todo, plan.outline)
    plan.run_cell.ranks = ranks
    ranks.lead(plan.run_cell)


def _of_shape(wish: Wish, place: Place, plugins: Plugins, *, dry_run: bool) -> Session | None:
    """What is known of a model that is but a shape; None of another one."""
    from ..models.shapes import PREFIX, shape_of

    shape = shape_of(place.model)
    if shape is None:
        return None
    if not dry_run:
        raise ZobenchError(f"--model {PREFIX}{shape} has no weights: it is for --dry-run (and zobench bench) alone")
    if place.data_dir is not None:
        raise ZobenchError(f"--model {PREFIX}{shape} has no tokenizer to read --data-dir {place.data_dir} with")
    from ..bench.shape_session import session_of
    from ..run.plan import computed

    return session_of(shape, plugins, dtype=computed(wish, place, plugins).dtype, device=place.device)


def _execute(plan: RunPlan, place: Place, wish: Wish, options: str, most_bytes: int | None) -> None:
    from ..run.progress import Progress
    from ..run.whole_run import board, execute, prepare
    from . import failures
    from .screen import show

    prepare(plan, place)
    keep(place.results, options)
    then = "" if plan.later is None else " to choose learning rates, then those that are reported"
    say(
        f"{len(plan.todo)} cells to run{then}, {len(plan.done)} done before; preset {wish.preset}; "
        f"records: {place.results / 'cells'}"
    )
    if plan.beside:
        say(
            f"{len(plan.beside)} records are of these cells at other settings, and stay in rows of their own; "
            f"`zobench clean {place.results}` lists what is older"
        )
    for cell_id, why in plan.retried.items():
        say(f"again: {cell_id}: the machine failed it before: {why}")
    try:
        records = execute(plan, place, Progress(plan.session.plugins, len(plan.todo)))
    except KeyboardInterrupt:
        with suppress(ZobenchError):  # nothing was done yet: there is no board to make
            board(plan, place)
        say(f"the same command goes on with what is not done; records: {place.results / 'cells'}")
        raise
    for cell_id, by in plan.elsewhere.items():
        say(f"elsewhere: {cell_id}: runs on {by}")
    for fault in plan.faults:
        say(f"zobench: error: {fault}")
    show(board(plan, place, most_bytes), {*plan.done, *(record["id"] for record in records)})
    failed = [r for r in [*records, *plan.done.values()] if r["status"] != "ok"]
    for line in failures.lines(failed):
        say(line)
    say(f"records: {place.results / 'cells'}  board: {place.results / 'leaderboard.md'}")
    if failed or plan.faults:
        raise typer.Exit(1)


def say(text: str) -> None:
    """A line for the person at the terminal, apart from the board on stdout."""
    print(text, file=sys.stderr)
