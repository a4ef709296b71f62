"""`zobench analyze curves`: training losses of methods side by side, from records. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from .common import figure_class, picture, records_of
from .of_records import PageOptions
from .shared_options import shares

if TYPE_CHECKING:
    from ..report.curves import Curve

COLUMNS = 3
"""Panels beside each other."""


@shares
def curves(
    results: Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack with steps.", metavar="DIR")],
    written: PageOptions,
) -> None:
    """Print how fast methods reduce the training loss: the paper's figure 6, for all methods and tasks of a folder."""
    written.check()
    from ..report import curves as report
    from ..report.web.page import losses_of

    found = report.curves(records_of(results), losses_of(results))
    if not found:
        raise ZobenchError(f"no logs of training losses under {results}: a pack keeps them with --with steps")
    made = report.markdown(found)
    written.end(made, lambda path: drawn(path, found))


def drawn(path: Path, found: Sequence[Curve]) -> bytes:
    """A panel a task: a line a method with its 95 % interval over seeds as a band; one legend for all."""
    tasks, names = list(dict.fromkeys(c.task for c in found)), list(dict.fromkeys(c.name for c in found))
    wide = min(COLUMNS, len(tasks))
    rows = -(-len(tasks) // wide)
    figure = figure_class(path)(figsize=(3.4 * wide + 2.2, 2.6 * rows), layout="constrained")
    panels = list(figure.subplots(rows, wide, squeeze=False).flat)
    lines = {}
    for axes, task in zip(panels, tasks, strict=False):
        for one in (one for one in found if one.task == task):
            colour = f"C{names.index(one.name) % 10}"
            (lines[one.name],) = axes.plot(one.steps, one.losses, color=colour, linewidth=1.2)
            halves = [0.0 if effect is None else effect.half() for effect in one.over_seeds]
            low, high = ([y + s * h for y, h in zip(one.losses, halves, strict=True)] for s in (-1, 1))
            axes.fill_between(one.steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=task, xlabel="step", ylabel="training loss")
    for axes in panels[len(tasks) :]:
        axes.set_axis_off()
    figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize="small")
    return picture(figure, path)
