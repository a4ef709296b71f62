"""The picture of a bench run: a panel a task, a bar a side, its phases one after another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .common import figure_class, picture

if TYPE_CHECKING:
    from ..bench.report import TaskMeasurement

PHASES = (("forward", "tab:blue"), ("perturb", "tab:orange"), ("update", "tab:green"))


def drawn(path: Path, found: Sequence[TaskMeasurement]) -> bytes:
    """The picture in the format of the file's name. Beside each bar: how many times as fast as official full."""
    from ..bench.sides import OFFICIAL_FULL

    sides = max(len(one.timed) for one in found)
    figure = figure_class(path)(figsize=(7, (0.32 * sides + 0.9) * len(found)), layout="constrained")
    panels = list(figure.subplots(len(found), 1, squeeze=False).flat)
    for axes, one in zip(panels, found, strict=True):
        names = [timed.side.name for timed in one.timed]
        left = [0.0] * len(names)
        for phase, colour in PHASES:
            widths = [1e3 * timed.median(f"{phase}_s") for timed in one.timed]
            axes.barh(names, widths, left=left, label=phase, color=colour)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for at, timed in enumerate(one.timed):
            ratio = one.ratio(timed, OFFICIAL_FULL)
            if ratio is not None:
                axes.text(left[at], at, f" {ratio:.1f}x", va="center", fontsize="small")
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set(title=one.work.task, xlabel="ms a step")
    panels[0].legend(fontsize="small", loc="lower right")
    return picture(figure, path)
