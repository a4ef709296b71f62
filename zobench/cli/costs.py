"""`zobench analyze cost`: the paper's cost model of a step, fitted to step times in records. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from .common import figure_class, picture, records_of
from .of_records import PageOptions, Results
from .shared_options import shares

if TYPE_CHECKING:
    from ..report.fitted_cost import FittedCost


@shares
def cost(
    results: Results,
    written: PageOptions,
) -> None:
    """Print how well T = 2 F + gamma |S| (Dominant-Layer ZO, equations 3 to 11) describes the step times of records.

    A fit for each estimator, setting of engine and device that was run over several scopes. The model holds forwards
    to be the same over every scope: engine=official makes them so, and prefix_cache=off for other engines.
    """
    written.check()
    from ..report import fitted_cost

    found = fitted_cost.fitted(records_of(results))
    if not found:
        raise ZobenchError(f"no estimator was run over two scopes under {results}: for example --selector all,layer:1")
    made = fitted_cost.markdown(found) + "\n"
    written.end(made, lambda path: drawn(path, found))


COLUMNS = 3
"""Panels beside each other."""


def drawn(path: Path, found: Sequence[FittedCost]) -> bytes:
    """A panel a fit: milliseconds of a step by the parameters that move, measured as dots, fitted as lines, by task."""
    tasks = sorted({task for one in found for task in one.measured})
    wide = min(COLUMNS, len(found))
    rows = -(-len(found) // wide)
    figure = figure_class(path)(figsize=(3.6 * wide + 1.2, 3.0 * rows), layout="constrained")
    panels = list(figure.subplots(rows, wide, squeeze=False).flat)
    lines = {}
    for axes, one in zip(panels, found, strict=False):
        for task, steps in one.measured.items():
            sizes, colour = sorted(steps), f"C{tasks.index(task) % 10}"
            axes.plot([n / 1e6 for n in sizes], [1e3 * steps[n] for n in sizes], "o", color=colour, markersize=3)
            ends = [0, sizes[-1]]
            fitted = [1e3 * one.fit.step(task, n) for n in ends]
            (lines[task],) = axes.plot([n / 1e6 for n in ends], fitted, color=colour, linewidth=0.8)
        axes.set(title=one.name, xlabel="millions of parameters that move", ylabel="ms a step", ylim=(0, None))
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    figure.legend(list(lines.values()), list(lines), loc="outside right center", fontsize="small")
    return picture(figure, path)
