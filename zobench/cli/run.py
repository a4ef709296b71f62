"""`zobench run`: cells from the product of the flags, and a leaderboard at the end."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..engine import AUTO, ENGINES
from ..errors import ZobenchError
from .common import DataDir, Device, Dtype, ModelName, Offline, PluginFiles, Preset, plugins_of

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..run.place import Place
    from ..run.plan import Wish
    from ..run.whole_run import RunPlan


class Rerun(StrEnum):
    """Which cells that have a record run again."""

    missing = "missing"
    failed = "failed"
    always = "always"


def run(
    estimator: Annotated[
        str, typer.Option("--estimator", "-e", help="Estimators, comma separated, or `all` (zobench ls estimators).")
    ],
    selector: Annotated[
        str,
        typer.Option("--selector", "-s", help="Comma separated (zobench ls selectors); `all` weights; `a+b`: both."),
    ] = "all",
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Tasks, comma separated, or `all`.")] = "all",
    model: ModelName = "embedded",
    data_dir: DataDir = None,
    results: Annotated[Path, typer.Option(help="Where records and the board go.", metavar="DIR")] = Path("runs"),
    seeds: Annotated[str, typer.Option(help="Seeds of batch order and directions, comma separated.")] = "0",
    tune_seeds: Annotated[str | None, typer.Option(help="Seeds that choose the learning rate, never reported.")] = None,
    split_seeds: Annotated[str | None, typer.Option(help="Data splits: every cell on each (data_seed).")] = None,
    preset: Annotated[
        Preset | None,
        typer.Option(help="Sizes and steps; `paper`: as MeZO's paper. [small; embedded for the embedded model]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps, instead of the preset's.", min=1)] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", help="Learning rates, comma separated: each is tried, dev chooses.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting: eps=1e-2, layer.index=1,30, loss_dtype=float32."),
    ] = None,
    device: Device = "auto",
    dtype: Annotated[Dtype | None, typer.Option(help="Of the weights; float32 if nothing is said.")] = None,
    engine: Annotated[str | None, typer.Option(help=f"{', '.join((AUTO, *ENGINES))}.")] = None,
    jobs: Annotated[
        str | None, typer.Option(help="Cells at once: a number, or `auto`: one a GPU, or a core.", metavar="N|auto")
    ] = None,
    executor: Annotated[str, typer.Option(help="How cells are spread (zobench ls executors).")] = "local",
    shard: Annotated[
        str | None, typer.Option(help="Run the I-th of N shares of the cells, one a machine.", metavar="I/N")
    ] = None,
    rerun: Annotated[Rerun, typer.Option(help="Which cells that have a record run again.")] = Rerun.missing,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells, their forwards and an estimate.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Fine-tune and evaluate: every estimator x selector x task x seed, then the leaderboard."""
    plugins = plugins_of(plugin)
    from ..protocol.protocol import usual_preset
    from ..run.plan import Wish, parse_settings

    settings = parse_settings(set_ or [])
    _add_options(settings, ("protocol.steps", steps), ("run.dtype", dtype), ("run.engine", engine), ("run.lr", lr))
    if steps is not None and not {"eval_every", "protocol.eval_every"} & set(settings):
        settings["eval_every"] = str(max(1, steps // 5))
    if jobs is not None:
        _add_options(settings, (f"{executor}.jobs", _jobs(jobs)))
    wish = Wish(
        _names(estimator, "--estimator", "mezo,adamw"),
        _names(selector, "--selector", "all,layer"),
        _names(tasks, "--tasks", "sst2,copa"),
        _seeds(seeds, "--seeds"),
        usual_preset(model) if preset is None else preset.value,
        None,
        settings,
        _seeds(tune_seeds, "--tune-seeds"),
        _seeds(split_seeds, "--split-seeds"),
    )
    from ..run.place import Place

    place = Place(model, data_dir, results, device, offline, executor, rerun.value, shard=_shard(shard))
    _run(wish, place, plugins, dry_run=dry_run)


def _run(wish: Wish, place: Place, plugins: Plugins, *, dry_run: bool) -> None:
    from ..run.stopping import Stopped, stoppable
    from ..run.whole_run import make_plan

    try:
        with stoppable():
            plan = make_plan(wish, place, plugins)
            if dry_run:
                _show(plan)
            else:
                _execute(plan, place, wish)
    except Stopped as stopped:
        say(f"zobench: {stopped}")
        raise typer.Exit(stopped.status) from None


def _add_options(settings: dict[str, str], *options: tuple[str, object]) -> None:
    """Put options that stand for a setting among those of `--set`. Raises ZobenchError for one that is there too."""
    for owned, value in options:
        key = owned.rpartition(".")[2]
        for said in ((owned,) if key == "jobs" else (key, owned)) if value is not None else ():
            if said in settings:
                raise ZobenchError(f"{key} is given twice: by --{key} and by --set {said}={settings[said]}")
        if value is not None:
            settings[owned] = str(value)


def _names(text: str, option: str, example: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ZobenchError(f"{option} names none; write for example {option} {example}")
    return names


def _seeds(text: str | None, option: str) -> tuple[int, ...]:
    from ..settings import Range, convert

    if text is None:
        return ()
    seeds = convert(text, tuple[Annotated[int, Range(ge=0, lt=2**32)], ...], option)  # as MeZO's generators take
    if not seeds:
        raise ZobenchError(f"{option} names none; write for example {option} 0,1,2")
    return tuple(dict.fromkeys(seeds))


def _jobs(text: str) -> int:
    """Cells at once, 0 for `auto`."""
    if text != "auto" and not (text.isdecimal() and int(text)):
        raise ZobenchError(f"--jobs {text}: write a number of at least 1, or auto")
    return 0 if text == "auto" else int(text)


def _shard(text: str | None) -> tuple[int, int]:
    """(i, n) of `i/n`."""
    if text is None:
        return 1, 1
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise ZobenchError(f"--shard {text}: write which of how many, from 1, for example --shard 2/4")
    return int(i), int(n)


def _execute(plan: RunPlan, place: Place, wish: Wish) -> None:
    from ..run.progress import Progress
    from ..run.whole_run import board, execute, prepare
    from .screen import show

    prepare(plan, place)
    then = "" if plan.later is None else " to choose learning rates, then those that are reported"
    say(
        f"{len(plan.todo)} cells to run{then}, {len(plan.done)} done before; preset {wish.preset}; "
        f"records: {place.results / 'cells'}"
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
    show(board(plan, place))
    failed = [r for r in [*records, *plan.done.values()] if r["status"] != "ok"]
    for record in failed:
        again = f" (of the machine: {record['retry']}; the same command runs it again)" if "retry" in record else ""
        say(f"failed: {record['id']}: {record['status']}: {record['error']}{again}")
    say(f"records: {place.results / 'cells'}  board: {place.results / 'leaderboard.md'}")
    if failed or plan.faults:
        raise typer.Exit(1)


def _show(plan: RunPlan) -> None:
    from tabulate import tabulate

    from ..run.estimate import cost

    rows, total_s, total = [], 0.0, 0
    later = [] if plan.later is None else plan.later.expected(plan.session.plugins)
    for cell in [*plan.todo, *later]:
        c = cost(cell, plan.session)
        total_s, total = total_s + c.seconds, total + sum(c.forwards.values())
        chosen = plan.later is not None and cell in later and cell.lrs
        lrs = "the one chosen" if chosen else ", ".join(f"{lr:g}" for lr in cell.lrs) or "-"
        each = ", ".join(f"{k} {v}" for k, v in c.forwards.items() if v)
        rows.append([cell.task, cell.estimator, cell.selector, cell.seed, lrs, each, _clock(c.seconds)])
    heads = ["task", "estimator", "selector", "seed", "learning rates", "forwards", "time of forwards"]
    print(tabulate(rows, heads, tablefmt="github"))
    print(
        f"\n{len(rows)} cells to run ({len(plan.done)} done before), {total} forwards, about {_clock(total_s)} of "
        "forward passes on this machine; perturbing and updating come on top."
    )


def _clock(seconds: float) -> str:
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m:02d} min" if hours else f"{m} min {s:02d} s"


def say(text: str) -> None:
    """A line for the person at the terminal, apart from the board on stdout."""
    print(text, file=sys.stderr)
