"""`zobench analyze layers`: each block tuned alone, from records. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from .common import Results, picture, records_of
from .pictures import legend, panels, percents
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..report.blocks import Sweep

COLUMNS = 4
"""Panels beside each other."""


@shares
def layers(
    results: Results,
    written: WrittenOptions,
) -> None:
    """Print how well each decoder block did alone, from the records of `zobench run --selector layer:0,layer:1,...`.

    Beside the blocks stand all weights and the selected outlier block, where the folder has their records too.
    """
    written.check()
    from ..plugins import declared
    from ..plugins.registry import load_plugins
    from ..report import blocks

    records = records_of(results)
    found = blocks.sweeps(records, declared.known(load_plugins()))
    if not found:
        raise ZobenchError(
            f"no blocks tuned alone under {results}: make some with zobench run --selector layer:0,layer:1 "
            f"--results {results}"
        )
    made = blocks.markdown(found) + "\n"
    written.end(made, {"sweeps": blocks.facts(found)}, lambda path: drawn(path, found))


def drawn(path: Path, found: Sequence[Sweep]) -> bytes:
    """A panel a sweep: test score by block with its 95 % interval, all weights as a line, the outlier block a star."""
    from ..report import stats

    figure, made = panels(path, len(found), columns=COLUMNS, size=(3.2, 2.6), beside=1.6)
    lines: dict[str, Any] = {}
    for axes, sweep in zip(made, found, strict=True):
        numbers = list(sweep.blocks)
        means = {n: 100 * stats.mean(sweep.blocks[n].values()) for n in numbers}
        errors = [0.0 if (one := sweep.blocks[n].effect) is None else 100 * one.half() for n in numbers]
        axes.errorbar(
            numbers, list(means.values()), yerr=errors, marker="o", markersize=3, capsize=2, label="one block"
        )
        some = sweep.full if sweep.full.done else next(iter(sweep.blocks.values()))
        for entry, which, style, label in (
            (sweep.full, "test", "--", "all weights"),
            (some, "zero_shot", ":", "zero-shot"),
        ):
            if scores := entry.values(which):
                axes.axhline(100 * stats.mean(scores), color="tab:gray", linestyle=style, label=label)
        for n in sweep.outlier:
            if n in means:
                axes.plot([n], [means[n]], "*", markersize=12, color="tab:red", label=sweep.chooser)
        axes.set(title=f"{sweep.estimator}, {sweep.task}", xlabel="decoder block", ylabel="test, percent")
        percents(axes)
        handles, labels = axes.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    legend(figure, lines, lines)
    return picture(figure, path)
