"""`zobench analyze cost`: the paper's cost model of a step, fitted to step times in records. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from .common import Results, picture, records_of
from .pictures import colours, legend, panels
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.fitted_cost import FittedCost


@shares
def cost(
    results: Results,
    written: WrittenOptions,
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
    written.end(made, {"fits": fitted_cost.facts(found)}, lambda path: drawn(path, found))


def drawn(path: Path, found: Sequence[FittedCost]) -> bytes:
    """A panel a fit: milliseconds of a step by the parameters that move, measured as dots, fitted as lines, by task."""
    tasks = sorted({task for one in found for task in one.measured})
    colour = dict(zip(tasks, colours(len(tasks)), strict=True))
    figure, made = panels(path, len(found), size=(3.6, 3.0), beside=1.2)
    lines: dict[str, Any] = {}
    for axes, one in zip(made, found, strict=True):
        for task, steps in one.measured.items():
            sizes = sorted(steps)
            axes.plot([n / 1e6 for n in sizes], [1e3 * steps[n] for n in sizes], "o", color=colour[task], markersize=3)
            ends = [0, sizes[-1]]
            fitted = [1e3 * one.fit.step(task, n) for n in ends]
            (lines[task],) = axes.plot([n / 1e6 for n in ends], fitted, color=colour[task], linewidth=0.8)
        axes.set(title=one.name, xlabel="millions of parameters that move", ylabel="ms a step", ylim=(0, None))
    legend(figure, lines, tasks)
    return picture(figure, path)
