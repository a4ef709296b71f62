"""`zobench analyze sensitivity`: how the loss answers to each block perturbed, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..plugins.outlier_bar import bar
from .common import figure_class, numbers_of, picture
from .looking import BatchSize, DirectionSeeds, Eps, LookOptions, looking_at, of_model, outlier_block, tell
from .pictures import titled
from .shared_options import shares
from .written import WrittenOptions


@shares
def sensitivity(
    look: LookOptions,
    written: WrittenOptions,
    seeds: DirectionSeeds = "0,1,2,3",
    eps: Eps = 1e-3,
    batches: Annotated[int, typer.Option(help="Batches of training examples.", min=2)] = 4,
    batch_size: BatchSize = 8,
    gradients: Annotated[bool, typer.Option(help="Hold estimates against the block's gradient.")] = True,
) -> None:
    """Print by how much the loss changes when one block is perturbed, and how steady its projected gradient is.

    The picture is the paper's figure 4, with intervals, and the signal over the noise under it.
    """
    written.check()
    found, place, name = look.begin()
    drawn_seeds = numbers_of(seeds, "--seeds")
    from ..report import sensitivity as report
    from ..run.looks import Sample
    from ..run.place import load
    from ..run.sensitivity import looked

    loaded = load(place, found, look.dtype.value)
    sample = Sample("", name, 0, batches, batch_size)
    looks: list[Mapping[str, Any]] = []
    outliers: dict[str, int | None] = {}
    for task, prepared, given in looking_at(look.tasks, sample, place, loaded, found):
        looks += looked(loaded, prepared, given, seeds=drawn_seeds, eps=eps, gradients=gradients, progress=tell)
        outliers[task] = outlier_block(loaded, given, bar(found, place.model))
    page = f"# {loaded.name}: each block perturbed\n\n{report.markdown(looks, eps, outliers)}"
    facts = of_model(loaded, eps=eps, outlier_block=outliers, preset=sample.preset, batch_size=batch_size, looks=looks)
    written.end(page, facts, lambda path: drawn(path, looks, eps, outliers, loaded.name))


def drawn(
    path: Path, looks: Sequence[Mapping[str, Any]], eps: float, outliers: Mapping[str, int | None], title: str
) -> bytes:
    """A column a task: the change of the loss by block with its interval, under it signal over noise."""
    from ..report import sensitivity as report

    tasks = report.by_task(looks)
    figure = figure_class(path)(figsize=(3.4 * len(tasks), 5.0), layout="constrained")
    panels = figure.subplots(2, len(tasks), squeeze=False, sharex="col")
    for column, (task, mine) in enumerate(tasks.items()):
        found = report.blocks(mine, eps)
        for axes, pick, label in (
            (panels[0][column], "change", "size of the loss's change"),
            (panels[1][column], "signal", "signal / noise"),
        ):
            known = [(one.block, effect) for one in found if (effect := getattr(one, pick)) is not None]
            at, means = [n for n, _ in known], [effect.mean for _, effect in known]
            errors = [[min(e.half(), e.mean) for _, e in known], [e.half() for _, e in known]]
            colours = ["tab:red" if n == outliers.get(task) else "tab:blue" for n in at]
            axes.bar(at, means, yerr=errors, color=colours, capsize=2, error_kw={"linewidth": 0.8})
            axes.set_ylabel(label)
        panels[0][column].set_title(task)
        panels[1][column].set_xlabel("decoder block (red: first outlier)")
    titled(figure, f"{title}, eps {eps:g}, 95 % intervals")
    return picture(figure, path)
