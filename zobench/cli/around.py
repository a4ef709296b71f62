"""`zobench analyze channels` and `combine`: parts of the dominant block, and sums with it, held against it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    MARGIN_POINTS,
    DataDir,
    Device,
    MarginOption,
    ModelName,
    Offline,
    PluginFiles,
    numbers_of,
    picture,
    plugins_of,
    section_of,
)
from .pictures import COLUMNS, panels, percents, titled
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..report.around import Around, What

PAPER = "dominant-layer"
TABLES: dict[str, str] = {"parts": "6", "sums": "5"}
"""The tables of that paper whose rows are run on the tasks that are named."""
TITLES: dict[str, str] = {"parts": "Parts of the dominant block", "sums": "The dominant block with others"}


@dataclass(frozen=True)
class AroundOptions:
    """What both commands take: a results folder, and what is to be run first."""

    results: Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack.", metavar="DIR")] = Path("runs")
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", "-t", help="First run what is missing on these, or `all`. [only what is there]"),
    ] = None
    seeds: Annotated[str, typer.Option(help="With --tasks: seeds, comma separated.")] = "0"
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="With --tasks: a setting, as of zobench run."),
    ] = None
    model: ModelName = None
    data_dir: DataDir = None
    device: Device = "auto"
    offline: Offline = False
    block: Annotated[int | None, typer.Option(help="The dominant block. [first_outlier's choice]", min=0)] = None
    margin: MarginOption = MARGIN_POINTS
    plugin: PluginFiles = None


@shares
def channels(asked: AroundOptions, written: WrittenOptions) -> None:
    """Print how much of the dominant block's gain its parts have: its MLP, the outlier channels of that, the rest.

    From records of any selector that moves a part of one block. With --tasks the rows of the paper's table 6 are run
    first, by the usual preset: zobench analyze channels runs --tasks sst2,rte --seeds 0,1,2 --plot channels.pdf
    """
    _carry_out("parts", asked, written)


@shares
def combine(asked: AroundOptions, written: WrittenOptions) -> None:
    """Print what further blocks add to the dominant block alone.

    From records of sums of blocks (--selector first_outlier,first_outlier+layer:3). With --tasks the rows of the
    paper's table 5 are run first: zobench analyze combine runs --tasks sst2 --seeds 0,1,2 --plot combine.pdf
    """
    _carry_out("sums", asked, written)


def _carry_out(what: What, asked: AroundOptions, written: WrittenOptions) -> None:
    written.check()
    plugins = plugins_of(asked.plugin)
    failed = asked.tasks is not None and _run(what, asked.tasks, asked, plugins)
    from ..plugins import declared
    from ..report import around, around_page, facts

    section = section_of(asked.results)
    mend = around.MEND if asked.tasks is None else _mend(what, asked.results, failed=failed)
    found = around.gathered(section, declared.known(plugins), what, asked.block, mend=mend)
    margin = asked.margin / 100
    page = f"# {TITLES[what]}: {section.model}\n\n{around_page.markdown(found, margin)}"
    numbers = {**facts.section(section), "margin": margin, "methods": around_page.facts(found, margin)}
    written.end(page, numbers, lambda path: drawn(path, found, section.model))
    if failed:
        raise typer.Exit(1)


def _mend(what: What, results: Path, *, failed: bool) -> str:
    """What to do where the paper's rows were run, and nothing is around the dominant block."""
    from ..report import around

    if failed or what == "parts":
        return f"zobench status {results} says what became of these cells"
    return f"the block that the paper's rows add, the last but one, is that block in this model; {around.OTHER}"


def _run(what: What, tasks: str, asked: AroundOptions, plugins: Plugins) -> bool:
    """Run the cells of the paper's table on these tasks that are not done; whether some of them failed."""
    from ..plugins import declared
    from ..report import papers
    from ..run.place import Place
    from ..run.reproduce import elsewhere
    from ..run.routing import parse_settings
    from .reproduce import carried_out

    model = declared.one(plugins, "usual_model", "--model") if asked.model is None else asked.model
    place = Place(model, asked.data_dir, asked.results, asked.device, asked.offline)
    paper = papers.read(PAPER)
    cells = elsewhere(
        paper.tables[TABLES[what]],
        tuple(name.strip() for name in tasks.split(",") if name.strip()),
        seeds=numbers_of(asked.seeds, "--seeds"),
        settings=parse_settings(asked.set_ or []),
        block=asked.block,
        plugins=plugins,
    )
    return carried_out(paper, cells, place, plugins)


def drawn(path: Path, found: Sequence[Around], title: str) -> bytes:
    """A panel a task, and their average: test by what moves, with 95 % intervals; the untouched model dotted."""
    shown = [(group, task) for group in found for task in _columns(group)]
    wide = min(COLUMNS, len(shown))
    tall = 1.1 + 0.3 * max(len(group.shown) for group in found)
    figure, made = panels(path, len(shown), size=(3.4, tall), beside=1.2)
    for at, (axes, (group, task)) in enumerate(zip(made, shown, strict=True)):
        _panel(axes, group, task)
        first = at % wide == 0 or shown[at - 1][0] is not group
        axes.set_yticks(range(len(group.shown)), [row.where if first else "" for row in reversed(group.shown)])
    titled(figure, f"{title}: test in percent, 95 % intervals (dotted: zero-shot)")
    return picture(figure, path)


def _columns(group: Around) -> list[str | None]:
    """The tasks, and None for their average where it is over several."""
    return [*group.tasks, *([None] if len(group.averaged) > 1 else [])]


def _panel(axes: Any, group: Around, task: str | None) -> None:
    """One column of the table: a dot a row, the dominant block's in red."""
    from ..report.rows import average

    for y, row in enumerate(reversed(group.shown)):
        tasks = group.averaged if task is None else (task,)
        mean = average(row, tasks) if task is None else row.entry(task).mean()
        effect = row.effect(tasks) if task is None else row.entry(task).effect
        if mean is None:
            continue
        colour = "tab:red" if row is group.block else "tab:gray" if row is group.full else "tab:blue"
        half = 0.0 if effect is None else 100 * effect.half()
        axes.errorbar([100 * mean], [y], xerr=[half], fmt="o", markersize=4, color=colour, capsize=2)
    untouched = [group.block.entry(name).mean("zero_shot") for name in (group.averaged if task is None else (task,))]
    known = [one for one in untouched if one is not None]
    if known:
        axes.axvline(100 * sum(known) / len(known), color="tab:gray", linestyle=":", linewidth=0.9)
    axes.set(title=f"{group.method}, {'average' if task is None else task}", ylim=(-0.6, len(group.shown) - 0.4))
    axes.set_xlabel("test, percent")
    percents(axes, "x")
    axes.tick_params(labelsize="small")
