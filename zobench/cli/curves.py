"""`zobench analyze curves`: training losses of methods side by side, from records. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from .common import picture, records_of
from .pictures import below, legend, losses, panels, styles
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.curves import Curve


@shares
def curves(
    results: Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack with steps.", metavar="DIR")],
    written: WrittenOptions,
) -> None:
    """Print how fast methods reduce the training loss: the paper's figure 6, for all methods and tasks of a folder."""
    written.check()
    from ..report import curves as report
    from ..report.web.page import losses_of

    found = report.curves(records_of(results), losses_of(results))
    if not found:
        raise ZobenchError(f"no logs of training losses under {results}: a pack keeps them with --with steps")
    made = report.markdown(found)
    written.end(made, {"curves": report.facts(found)}, lambda path: drawn(path, found))


def drawn(path: Path, found: Sequence[Curve]) -> bytes:
    """A panel a task: a line a method with its 95 % interval over seeds as a band; one legend for all."""
    tasks, look = list(dict.fromkeys(c.task for c in found)), styles(c.name for c in found)
    figure, made = panels(path, len(tasks), size=(3.4, 2.6), beside=2.2)
    lines = {}
    for axes, task in zip(made, tasks, strict=True):
        mine = [one for one in found if one.task == task]
        for one in mine:
            (lines[one.name],) = axes.plot(one.steps, one.losses, linewidth=1.2, **look[one.name])
            halves = [0.0 if effect is None else effect.half() for effect in one.over_seeds]
            pairs = list(zip(one.losses, halves, strict=True))
            low, high = [y - below(y, h) for y, h in pairs], [y + h for y, h in pairs]
            axes.fill_between(
                one.steps, low, high, color=look[one.name]["color"], alpha=min(0.15, 0.3 / len(mine)), linewidth=0
            )
        axes.set(title=task, xlabel="step", ylabel="training loss")
        losses(axes, [loss for one in mine for loss in one.losses])
    legend(figure, lines, look)
    return picture(figure, path)
