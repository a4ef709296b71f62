"""`zobench analyze transforms`: blocks tuned alone in a model and in transformed ones, from records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ZobenchError
from .common import picture, records_of
from .pictures import panels, percents
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.interventions import Under


SHORT = 30
"""Characters of a transform that a legend says whole; of a longer one the letter that the page has."""


@shares
def transforms(
    results: Annotated[list[Path], typer.Argument(help="Results folders: cells/ or packs.", metavar="DIR...")],
    written: WrittenOptions,
) -> None:
    """Print how each block did alone under each transform: does dominance follow the activation outlier?

    From `zobench run --selector layer:0,layer:1,... --set transform=clamp:0:6:8`, and the same without a transform.
    """
    written.check()
    from ..plugins import declared
    from ..plugins.registry import load_plugins
    from ..report import interventions as report

    records = [record for folder in results for record in records_of(folder)]
    found = report.gathered(records, declared.known(load_plugins()))
    found = [group for group in found if any(one.transform for one in group)]
    if not found:
        raise ZobenchError("no blocks tuned alone under a transform: zobench run --set transform=... makes some")
    made = "# Blocks of transformed models\n\n" + report.markdown(found)
    written.end(made, {"sweeps": report.facts(found)}, lambda path: drawn(path, found))


def drawn(path: Path, found: Sequence[Sequence[Under]]) -> bytes:
    """A panel an estimator and task: test by block with its 95 % interval, a line a transform; zero-shot dotted."""
    from ..report import interventions as report
    from ..report import stats

    figure, made = panels(path, len(found), size=(4.6, 3.2))
    for axes, group in zip(made, found, strict=True):
        letters = report.short(group)
        for k, one in enumerate(group):
            blocks = {n: e for n, e in one.sweep.blocks.items() if e.done}
            means = [100 * stats.mean(e.values()) for e in blocks.values()]
            errors = [0.0 if e.effect is None else 100 * e.effect.half() for e in blocks.values()]
            places = [n + 0.12 * (k - (len(group) - 1) / 2) for n in blocks]
            axes.errorbar(
                places,
                means,
                yerr=errors,
                marker="o",
                markersize=3,
                capsize=2,
                color=f"C{k}",
                label=one.name if len(one.name) <= SHORT else letters[one.transform],
            )
            zero_shot = next(iter(blocks.values())).mean("zero_shot")
            if zero_shot is not None:
                axes.axhline(100 * zero_shot, color=f"C{k}", linestyle=":", linewidth=0.8)
        first = group[0].sweep
        axes.set(title=f"{first.estimator}, {first.task}", xlabel="decoder block (dotted: zero-shot)")
        axes.set(ylabel="test, percent")
        percents(axes)
        axes.legend(fontsize="small")
    return picture(figure, path)
