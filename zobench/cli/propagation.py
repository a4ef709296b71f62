"""`zobench analyze propagation`: what a block's perturbation becomes on its way to the last hidden state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import (
    DataDir,
    Device,
    Dtype,
    ModelName,
    Offline,
    PluginFiles,
    PresetName,
    check_outputs,
    figure_class,
    numbers_of,
    picture,
    plugins_of,
    write_file,
)
from .looking import Tasks, looking_at, outlier_block, place_of, tell
from .outlier_bar import bar


def propagation(
    tasks: Tasks,
    model: ModelName = None,
    data_dir: DataDir = None,
    seeds: Annotated[str, typer.Option(help="Seeds of directions, comma separated.")] = "0,1,2,3",
    eps: Annotated[float, typer.Option(help="The perturbation's scale.", min=0.0)] = 1e-3,
    batches: Annotated[int, typer.Option(help="Batches of training examples.", min=1)] = 2,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.", min=1)] = 4,
    preset: PresetName = None,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = Dtype.float32,
    device: Device = "auto",
    offline: Offline = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every displacement here.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables here, too.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it here: .png, .pdf or .svg.", metavar="FILE")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print how the relative change of the residual stream grows from each perturbed block to the last."""
    check_outputs(json=json_file, out=out, plot=plot)
    found = plugins_of(plugin)
    drawn_seeds = numbers_of(seeds, "--seeds")
    from ..report import propagation as report
    from ..run.looks import Sample
    from ..run.place import load
    from ..run.propagation import reached

    place, name = place_of(found, model, preset, data_dir, device=device, offline=offline)
    loaded = load(place, found, dtype.value)
    made: list[Mapping[str, Any]] = []
    outliers: dict[str, int | None] = {}
    for task, _, given in looking_at(tasks, Sample("", name, 0, batches, batch_size), place, loaded, found):
        made += reached(loaded, task, given, seeds=drawn_seeds, eps=eps, progress=tell)
        outliers[task] = outlier_block(loaded, given, bar(found, place.model))
    page = f"# {loaded.name}: how far a block's perturbation reaches\n\n{report.markdown(made, eps, outliers)}"
    print(page, end="")
    if out is not None:
        write_file(out, page.encode())
    if json_file is not None:
        facts: dict[str, Any] = {"model": loaded.name, "revision": loaded.revision, "dtype": loaded.dtype, "eps": eps}
        facts |= {"outlier_block": outliers, "reached": made}
        write_file(json_file, json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n")
    if plot is not None:
        write_file(plot, drawn(plot, made, eps, outliers, loaded.name))


def drawn(
    path: Path, found: Sequence[Mapping[str, Any]], eps: float, outliers: Mapping[str, int | None], title: str
) -> bytes:
    """A panel a task: a line a perturbed block, the stream's relative change after it; the outlier block in red."""
    from ..report import propagation as report
    from ..report.sensitivity import by_task

    tasks = by_task(found)
    figure = figure_class(path)(figsize=(3.6 * len(tasks), 3.2), layout="constrained")
    for axes, (task, mine) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks.items(), strict=True):
        for one in report.blocks(mine):
            first = one.block == outliers.get(task)
            above = [(at, e.mean, e.half()) for at, e in enumerate(one.after) if e is not None and at >= one.block]
            at, means, halves = (list(column) for column in zip(*above, strict=True))
            style = {"color": "tab:red", "zorder": 3} if first else {"color": "tab:blue", "alpha": 0.6}
            axes.errorbar(at, means, yerr=halves, marker="o", markersize=2.5, linewidth=1, elinewidth=0.6, **style)
        axes.set(title=task, xlabel="after decoder block", ylabel="relative change of the stream", yscale="log")
    figure.suptitle(f"{title}, eps {eps:g} (red: the first outlier block)", fontsize="medium")
    return picture(figure, path)
