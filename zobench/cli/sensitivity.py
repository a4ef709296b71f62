"""`zobench analyze sensitivity`: how the loss answers to each block perturbed, without any training."""

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


def sensitivity(
    tasks: Tasks,
    model: ModelName = None,
    data_dir: DataDir = None,
    seeds: Annotated[str, typer.Option(help="Seeds of directions, comma separated.")] = "0,1,2,3",
    eps: Annotated[float, typer.Option(help="The perturbation's scale.", min=0.0)] = 1e-3,
    batches: Annotated[int, typer.Option(help="Batches of training examples.", min=2)] = 4,
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.", min=1)] = 8,
    gradients: Annotated[bool, typer.Option(help="Hold estimates against the block's gradient.")] = True,
    preset: PresetName = None,
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = Dtype.float32,
    device: Device = "auto",
    offline: Offline = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every look here, and what they say.", metavar="FILE")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the tables here, too.", metavar="FILE")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it here: .png, .pdf or .svg.", metavar="FILE")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print by how much the loss changes when one block is perturbed, and how steady its projected gradient is.

    The picture is the paper's figure 4, with intervals, and the signal over the noise under it.
    """
    check_outputs(json=json_file, out=out, plot=plot)
    found = plugins_of(plugin)
    drawn_seeds = numbers_of(seeds, "--seeds")
    from ..report import sensitivity as report
    from ..run.looks import Sample
    from ..run.place import load
    from ..run.sensitivity import looked

    place, name = place_of(found, model, preset, data_dir, device=device, offline=offline)
    loaded = load(place, found, dtype.value)
    sample = Sample("", name, 0, batches, batch_size)
    looks: list[Mapping[str, Any]] = []
    outliers: dict[str, int | None] = {}
    for task, prepared, given in looking_at(tasks, sample, place, loaded, found):
        looks += looked(loaded, prepared, given, seeds=drawn_seeds, eps=eps, gradients=gradients, progress=tell)
        outliers[task] = outlier_block(loaded, given, bar(found, place.model))
    made = f"# {loaded.name}: each block perturbed\n\n{report.markdown(looks, eps, outliers)}"
    print(made, end="")
    if out is not None:
        write_file(out, made.encode())
    if json_file is not None:
        facts: dict[str, Any] = {"model": loaded.name, "revision": loaded.revision, "dtype": loaded.dtype, "eps": eps}
        facts |= {"outlier_block": outliers, "preset": sample.preset, "batch_size": batch_size, "looks": looks}
        write_file(json_file, json.dumps(facts, indent=1, allow_nan=False).encode() + b"\n")
    if plot is not None:
        write_file(plot, drawn(plot, looks, eps, outliers, loaded.name))


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
    figure.suptitle(f"{title}, eps {eps:g}, 95 % intervals", fontsize="medium")
    return picture(figure, path)
