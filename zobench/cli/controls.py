"""`zobench analyze controls`: is it the scope, or the precision, the rate, the choice, the budget? From records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ..errors import ZobenchError
from . import epilog
from .common import Results, picture, records_of, section_of
from .pictures import below, legend, losses, panels, styles
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.budgets import Speedily
    from ..report.controls import BlockCorrelation, Rates
    from ..report.held import HeldRows
    from ..report.rows import Section

app = typer.Typer(no_args_is_help=True)
BESIDE = 2.2
"""Inches for the legend."""

Found = TypeVar("Found")


@app.callback()
def controls() -> None:
    """Hold a claim about scopes against what else could make it: precision, learning rate, selection, budget."""


@app.command(epilog=epilog(["zobench analyze controls precision runs --plot precision.png"]))
@shares
def precision(results: Results, written: WrittenOptions) -> None:
    """Print each method in every precision that it was run in, held against the finest.

    Give a folder of runs with --dtype float16 (the paper's), --set restore=exact and --set precision=float32.
    """
    written.check()
    from ..report.controls import by_precision

    section = section_of(results)
    _finish_held("Precision", by_precision(section), section, written)


@app.command(epilog=epilog(["zobench analyze controls selection runs --plot selection.png"]))
@shares
def selection(results: Results, written: WrittenOptions) -> None:
    """Print the selectors of each estimator, held against that of the first outlier block.

    From runs with --selector first_outlier,random_layers,sensitivity,layer:0,... at one budget; where each block was
    tuned alone on several tasks, also how far tasks agree on which block is good, with its interval.
    """
    written.check()
    from ..plugins import declared
    from ..plugins.registry import load_plugins
    from ..report import blocks
    from ..report.controls import block_correlations, by_selection

    section = section_of(results)
    known = declared.known(load_plugins())
    agreed = block_correlations(blocks.sweeps(records_of(results), known))
    _finish_held("Selection", by_selection(section, known), section, written, agreed)


@app.command(epilog=epilog(["zobench analyze controls rate runs --plot rate.png"]))
@shares
def rate(results: Results, written: WrittenOptions) -> None:
    """Print what each learning rate gave each method, and whether its best rate lies inside the grid.

    One block has a small part of the parameters: its best rate may be another than that of all weights. From runs with
    several --lr, and --set further_lrs=4 for grids that go on while the best is an end.
    """
    from ..report import controls as report

    written.check()
    found = _some(report.rates(records_of(results)), results)
    page = f"# Learning rates\n\n{report.rate_page(found)}"
    written.end(page, {"rates": report.rate_facts(found)}, lambda path: _rates_drawn(path, found))


@app.command(epilog=epilog(["zobench analyze controls budget runs --plot budget.png"]))
@shares
def budget(results: Results, written: WrittenOptions) -> None:
    """Print how fast each method reduces the dev loss: area under the curve, forwards and seconds to a target."""
    from ..report import budgets as report

    written.check()
    found = _some(report.gathered(records_of(results)), results)
    page = f"# Budget\n\n{report.markdown(found)}"
    written.end(page, {"budgets": report.facts(found)}, lambda path: _budget_drawn(path, found))


def _some(found: Found, results: Path) -> Found:
    """What was found. ZobenchError where that is nothing."""
    if not found:
        raise ZobenchError(f"no trained cells under {results}")
    return found


def _finish_held(
    title: str,
    groups: Sequence[HeldRows],
    section: Section,
    written: WrittenOptions,
    correlations: Sequence[BlockCorrelation] = (),
) -> None:
    """Print, write and draw rows that are held against one; under them how far tasks agree on blocks."""
    from ..report import facts, held
    from ..report.controls import correlation_page

    page = f"# {title}: {section.model}\n\n{held.markdown(groups, section)}"
    numbers = {**facts.section(section), "groups": held.facts(groups, section)}
    if correlations:
        page += f"\n{correlation_page(correlations)}"
        numbers["correlations"] = [asdict(one) for one in correlations]
    written.end(page, numbers, lambda path: _held_drawn(path, groups, section))


def _held_drawn(path: Path, groups: Sequence[HeldRows], section: Section) -> bytes:
    """A panel a group: the paired differences to its row, in points, with their intervals."""
    from ..report import held

    found = held.effects(groups, section)
    tall = 1.0 + 0.28 * max(len(group.rows) for group in groups)
    figure, made = panels(path, len(groups), size=(5.4, tall))
    for at, (axes, group) in enumerate(zip(made, groups, strict=True)):
        others = [(k, row) for k, row in enumerate(group.rows) if row is not group.against]
        for y, (k, _) in enumerate(reversed(others)):
            effect = found[at, k]
            if effect is not None:
                axes.errorbar(
                    [100 * effect.mean], [y], xerr=[100 * effect.half()], fmt="o", color="tab:blue", capsize=2
                )
        axes.axvline(0, color="tab:gray", linewidth=0.8)
        axes.set_yticks(range(len(others)), [row.name for _, row in reversed(others)], fontsize="small")
        axes.set(title=group.title, xlabel=f"points over\n{group.against.name} (95 %)", ylim=(-0.5, len(others) - 0.5))
    return picture(figure, path)


def _rates_drawn(path: Path, found: Sequence[Rates]) -> bytes:
    """The lowest dev loss by learning rate, a line a method, with its interval over seeds."""
    tasks, look = list(dict.fromkeys(one.task for one in found)), styles(one.name for one in found)
    figure, made = panels(path, len(tasks), beside=BESIDE)
    lines: dict[str, Any] = {}
    for axes, task in zip(made, tasks, strict=True):
        known = {one.name: [at for at in one.at if at.mean < float("inf")] for one in found if one.task == task}
        for name, rates in known.items():
            halves = [0.0 if at.dev is None else at.dev.half() for at in rates]
            means = [at.mean for at in rates]
            lines[name] = _line(axes, [at.lr for at in rates], means, halves, look[name])
        axes.set(title=task, xlabel="learning rate", ylabel="lowest dev loss", xscale="log")
        losses(axes, [at.mean for rates in known.values() for at in rates])
    legend(figure, lines, look)
    return picture(figure, path)


def _budget_drawn(path: Path, found: Mapping[str, Sequence[Speedily]]) -> bytes:
    """Dev losses by forwards, a line a method, with the interval over seeds; the target as a line."""
    from ..report import budgets as report
    from ..report import stats

    look = styles(one.name for methods in found.values() for one in methods)
    figure, made = panels(path, len(found), beside=BESIDE)
    lines: dict[str, Any] = {}
    for axes, (task, methods) in zip(made, found.items(), strict=True):
        every: list[float] = []
        for one in methods:
            steps = sorted(set.intersection(*({step for step, _ in run.at} for run in one.runs)))
            at_step = [[dict(run.at)[step] for run in one.runs] for step in steps]
            halves = [0.0 if (e := report.over_seeds(values)) is None else e.half() for values in at_step]
            means = [stats.mean(values) for values in at_step]
            spent = [step * one.runs[0].forwards for step in steps]
            lines[one.name] = _line(axes, spent, means, halves, look[one.name])
            every += means
        axes.axhline(report.target_of(methods), color="tab:gray", linestyle=":")
        axes.set(title=task, xlabel="forwards of training", ylabel="dev loss")
        losses(axes, every)
    legend(figure, lines, look)
    return picture(figure, path)


def _line(axes: Any, at: Sequence[float], means: Sequence[float], halves: Sequence[float], look: Any) -> Any:
    """Means with their intervals, on a logarithmic axis."""
    down = [below(mean, half) for mean, half in zip(means, halves, strict=True)]
    made = axes.errorbar(
        at,
        means,
        yerr=[down, list(halves)],
        marker="o",
        markersize=2.5,
        linewidth=1.2,
        elinewidth=0.7,
        capsize=2,
        **look,
    )
    for bar in made[2]:
        bar.set_alpha(0.6)
    return made
