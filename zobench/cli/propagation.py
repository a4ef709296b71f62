"""`zobench analyze propagation`: what a block's perturbation becomes on its way to the last hidden state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..plugins.outlier_bar import bar
from .common import numbers_of, picture
from .looking import Batches, BatchSize, DirectionSeeds, Eps, LookOptions, looking_at, of_model, outlier_block, tell
from .pictures import panels, titled
from .shared_options import shares
from .written import WrittenOptions


@shares
def propagation(
    look: LookOptions,
    written: WrittenOptions,
    seeds: DirectionSeeds = "0,1,2,3",
    eps: Eps = 1e-3,
    batches: Batches = 2,
    batch_size: BatchSize = 4,
) -> None:
    """Print how the relative change of the residual stream grows from each perturbed block to the last."""
    written.check()
    found, place, name = look.begin()
    drawn_seeds = numbers_of(seeds, "--seeds")
    from ..report import propagation as report
    from ..run.looks import Sample
    from ..run.place import load
    from ..run.propagation import reached

    loaded = load(place, found, look.dtype.value)
    made: list[Mapping[str, Any]] = []
    outliers: dict[str, int | None] = {}
    for task, _, given in looking_at(look.tasks, Sample("", name, 0, batches, batch_size), place, loaded, found):
        made += reached(loaded, task, given, seeds=drawn_seeds, eps=eps, progress=tell)
        outliers[task] = outlier_block(loaded, given, bar(found, place.model))
    page = f"# {loaded.name}: how far a block's perturbation reaches\n\n{report.markdown(made, eps, outliers)}"
    facts = of_model(loaded, eps=eps, outlier_block=outliers, reached=made)
    written.end(page, facts, lambda path: drawn(path, made, eps, outliers, loaded.name))


def drawn(
    path: Path, found: Sequence[Mapping[str, Any]], eps: float, outliers: Mapping[str, int | None], title: str
) -> bytes:
    """A panel a task: a line a perturbed block, the stream's relative change after it; the outlier block in red."""
    from ..report import propagation as report
    from ..report.sensitivity import by_task

    tasks = by_task(found)
    figure, made = panels(path, len(tasks), size=(4.2, 3.2))
    for axes, (task, mine) in zip(made, tasks.items(), strict=True):
        for one in report.blocks(mine):
            first = one.block == outliers.get(task)
            above = [(at, e.mean, e.half()) for at, e in enumerate(one.after) if e is not None and at >= one.block]
            at, means, halves = (list(column) for column in zip(*above, strict=True))
            style = {"color": "tab:red", "zorder": 3} if first else {"color": "tab:blue", "alpha": 0.6}
            axes.errorbar(at, means, yerr=halves, marker="o", markersize=2.5, linewidth=1, elinewidth=0.6, **style)
        axes.set(title=task, xlabel="after decoder block", ylabel="relative change of the stream", yscale="log")
    red = "red: the first outlier block" if any(n is not None for n in outliers.values()) else "no outlier block"
    titled(figure, f"{title}, eps {eps:g} ({red})")
    return picture(figure, path)
