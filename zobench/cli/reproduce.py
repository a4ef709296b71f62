"""`zobench reproduce`: a paper's tables as cells, run like any others, and its numbers beside what they give."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from ..report import papers, text
from .common import (
    DataDir,
    Device,
    DeviceMap,
    ModelName,
    Offline,
    PluginFiles,
    check_outputs,
    numbers_of,
    plugins_of,
    write_file,
)
from .paper_figures import draw, figures_of
from .run import Rerun, say
from .run_options import add_options, elsewhere_of, jobs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..plugins.registry import Plugins
    from ..report.papers import Paper, PrintedFigure
    from ..report.record import Record
    from ..run.place import Place
    from ..run.reproduce import Asked, Reproduction
    from ..run.session import Session


class BudgetName(enum.StrEnum):
    """How much is run."""

    paper = "paper"
    small = "small"
    minutes = "minutes"


def reproduce(
    paper: Annotated[str, typer.Argument(help=f"One of: {', '.join(papers.names())}.")],
    table: Annotated[
        str | None, typer.Option(help="Its tables, comma separated: 1,3 or 10..13. [all]", metavar="N[,N]")
    ] = None,
    figure: Annotated[
        str | None, typer.Option(help="Its figures, drawn into --results; their tables are run.", metavar="N[,N]")
    ] = None,
    model: ModelName = None,
    data_dir: DataDir = None,
    results: Annotated[Path, typer.Option(help="Where records go.", metavar="DIR")] = Path("reproduced"),
    budget: Annotated[
        BudgetName,
        typer.Option(help="`paper`: its grids, steps and dtypes; `small`: as zobench run; `minutes`: twenty steps."),
    ] = BudgetName.small,
    tasks: Annotated[str | None, typer.Option("--tasks", "-t", help="Of the tables' tasks these alone.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, comma separated; the paper does not say how many it has.")] = "0",
    block: Annotated[
        int | None, typer.Option(help="Take this block for the dominant one, not first_outlier's choice.", min=0)
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, for every cell that has it.")
    ] = None,
    device: Device = "auto",
    device_map: DeviceMap = "auto",
    jobs: Annotated[
        str | None, typer.Option(help="Cells at once: a number, or `auto`: one a GPU, or a core.", metavar="N|auto")
    ] = None,
    executor: Annotated[str, typer.Option(help="How cells are spread (zobench ls executors).")] = "local",
    rerun: Annotated[Rerun, typer.Option(help="Which cells that have a record run again.")] = Rerun.missing,
    offline: Offline = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cells, their forwards and an estimate.")] = False,
    for_device: Annotated[
        str | None, typer.Option(help="With --dry-run: the device whose times are told, as in zobench run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the page here, too.", metavar="FILE")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Run the tables of a paper on any model, and hold its numbers and claims against the result.

    The same command goes on where it was stopped. The dominant block is what first_outlier finds, or --block.
    """
    check_outputs(out=out)
    of = papers.read(paper)
    figures = figures_of(of, _words(figure))
    numbers = (*_words(table), *(number for one in figures for number in one.tables))
    chosen = papers.tables_of(of, numbers) if numbers or not figures else []
    elsewhere = elsewhere_of(for_device, device_map, dry_run=dry_run)
    plugins = plugins_of(plugin)
    from ..plugins import declared
    from ..run.place import Place
    from ..run.reproduce import Asked
    from ..run.routing import parse_settings

    model = declared.one(plugins, "usual_model", "--model") if model is None else model
    settings = parse_settings(set_ or [])
    if jobs is not None:
        add_options(settings, (f"{executor}.jobs", jobs_of(jobs)))
    asked = Asked(tuple(chosen), budget.value, numbers_of(seeds, "--seeds"), _words(tasks), settings, block)
    place = Place(model, data_dir, results, device, offline, executor, rerun.value, device_map=device_map)
    if chosen:
        place = place if elsewhere is None else place.elsewhere()
        _carry_out(of, asked, place, plugins, dry_run=dry_run, elsewhere=elsewhere, out=out, figures=figures)
    elif not dry_run:
        draw(of, figures, place, plugins, [], asked.tasks)


def _carry_out(
    of: Paper,
    asked: Asked,
    place: Place,
    plugins: Plugins,
    *,
    dry_run: bool,
    elsewhere: tuple[str, str] | None,
    out: Path | None,
    figures: Sequence[PrintedFigure],
) -> None:
    from ..run.reproduce import planned
    from ..run.stopping import Stopped, stoppable

    try:
        with stoppable():
            made = planned(of, asked, place, plugins, _shaped(place, plugins, dry_run=dry_run))
            if dry_run:
                _show(made, *(elsewhere or (None, place.device_map)))
                return
            failed = _run(made, place)
    except Stopped as stopped:
        say(f"zobench: {stopped}")
        raise typer.Exit(stopped.status) from None
    page = _page(of, made, place, f"budget {asked.budget}, {text.plural(len(asked.seeds), 'seed')}")
    print(page, end="")
    if out is not None:
        write_file(out, page.encode())
    draw(of, figures, place, plugins, _records(made, place), asked.tasks)
    if failed:
        raise typer.Exit(1)


def carried_out(of: Paper, asked: Asked, place: Place, plugins: Plugins) -> bool:
    """Run the cells that are not done, for another command; whether some of them failed. Exits where it is stopped."""
    from ..run.reproduce import planned
    from ..run.stopping import Stopped, stoppable

    try:
        with stoppable():
            return _run(planned(of, asked, place, plugins), place)
    except Stopped as stopped:
        say(f"zobench: {stopped}")
        raise typer.Exit(stopped.status) from None


def _records(made: Reproduction, place: Place) -> list[Record]:
    from ..report import store

    return [record for record in store.read(place.results)[0] if record["id"] in made.ids]


def _words(said: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in (said or "").split(",") if word.strip())


def _shaped(place: Place, plugins: Plugins, *, dry_run: bool) -> Callable[[str], Session] | None:
    """By dtype what is known of a model that is but a shape; None of another model."""
    from ..models.shapes import PREFIX, shape_of

    shape = shape_of(place.model)
    if shape is None:
        return None
    if not dry_run:
        raise ZobenchError(f"--model {PREFIX}{shape} has no weights: it is for --dry-run alone")
    from ..bench.shape_session import session_of

    return lambda dtype: session_of(shape, plugins, dtype=dtype, device=place.device)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def _show(made: Reproduction, for_device: str | None, device_map: str) -> None:
    """The cells with what each will take, a table a dtype; and all of it in hours, by engine."""
    from .dry_run import show

    ours = theirs = 0.0
    for plan in made.plans:
        print(f"\nIn {plan.run_cell.order.dtype}:\n")
        found = show(plan, for_device, device_map, official=True)
        ours, theirs = ours + found[0], theirs + found[1]
    total = f"{_hours(ours)} hours as it would run, {_hours(theirs)} with engine=official, as MeZO computes"
    print(f"\nAll of it, one cell at a time on one device: {total}.")


def _run(made: Reproduction, place: Place) -> bool:
    """Run what is to do; whether some of it failed. The board of all records is written, too."""
    from ..run.progress import Progress
    from ..run.whole_run import board, execute, prepare

    failed = False
    for plan in made.plans:
        prepare(plan, place)
        say(f"{len(plan.todo)} cells to run in {plan.run_cell.order.dtype}, {len(plan.done)} done before")
        records = execute(plan, place, Progress(plan.plugins, len(plan.todo)))
        for fault in plan.faults:
            say(f"zobench: error: {fault}")
        for record in [*records, *plan.done.values()]:
            if record["status"] != "ok":
                say(f"failed: {record['id']}: {record['status']}: {record['error']}")
                failed = True
        failed |= bool(plan.faults)
        board(plan, place)
    return failed


def _page(of: Paper, made: Reproduction, place: Place, how: str) -> str:
    """The paper's tables beside the records of these cells; written beside them, too."""
    from ..report import reproduced, store

    records = _records(made, place)
    model = made.plans[0].outline.loaded.name if made.plans and made.plans[0].outline is not None else place.model
    page = reproduced.markdown(of, made.tables, records, model, how)
    store.write_text(place.results / f"{of.name}.md", page)
    return page
