"""`zobench bench`: how long a step takes, against MeZO's own order of operations, in one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ZobenchError
from ..plugins import declared
from .common import DataDir, Device, Dtype, Offline, PluginFiles, plugins_of
from .shared_options import shares
from .written import WrittenOptions

if TYPE_CHECKING:
    from ..bench.ceilings import Ceilings
    from ..bench.report import Facts, TaskMeasurement
    from ..bench.work import Work
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins

DEFAULT_TASKS = "copa,sst2,wsc,cb,drop"
"""The tasks of the paper's Tables 4 and 13."""


class BenchPreset(StrEnum):
    """`paper`: the paper's tasks, batch and steps. `ci`: a model of 10 M parameters on the CPU, in a minute or two."""

    paper = "paper"
    ci = "ci"


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"tasks": DEFAULT_TASKS, "batch_size": 16, "steps": 30, "warmup": 10, "threads": None},
    "ci": {"tasks": "sst2", "batch_size": 16, "steps": 10, "warmup": 3, "threads": 1},
}


@dataclass(frozen=True)
class ModelOptions:
    """The options that say which model's steps are timed, and which block of it alone."""

    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A folder with a model, or a hub id, instead of random weights.")
    ] = None
    random_weights: Annotated[
        str | None,
        typer.Option(help="A model of this shape with random weights: llama2-7b, qwen3-8b, ci.", metavar="SHAPE"),
    ] = None
    layer: Annotated[
        int | None, typer.Option(help="The decoder block of the scope `layer`, 0-based. [the paper's]")
    ] = None
    device: Device = "auto"
    dtype: Annotated[Dtype | None, typer.Option(help="Of the weights. [float16 on a GPU, else float32]")] = None
    offline: Offline = False

    def check(self) -> None:
        """ZobenchError for two models."""
        if self.model is not None and self.random_weights is not None:
            raise ZobenchError("--model and --random-weights name two models: give one of them")

    def load(self, plugins: Plugins, usual: str | None) -> tuple[LoadedModel, int]:
        """The model, and the block that is tuned alone; usual: the shape where neither is named."""
        from ..bench.random_models import random_model
        from ..devices import best
        from ..models.load import load_model
        from ..models.shapes import SHAPES
        from ..run.heap import keep_freed

        keep_freed()
        on_gpu = (best() if self.device == "auto" else self.device) != "cpu"
        wanted = (self.dtype.value if self.dtype else None) or ("float16" if on_gpu else "float32")
        if self.model is None:
            shape = self.random_weights or usual
            if shape is None:
                ways = "--model DIR, or --random-weights llama2-7b (or --preset ci, a small one)"
                raise ZobenchError(f"name a model: {ways}")
            loaded = random_model(shape, dtype=wanted, device=self.device)
            at = SHAPES[shape][2] if self.layer is None else self.layer
        else:
            pinned = declared.revision(plugins, self.model)
            loaded = load_model(self.model, dtype=wanted, device=self.device, offline=self.offline, pinned=pinned)
            at = min(1, len(loaded.blocks) - 1) if self.layer is None else self.layer
        if not 0 <= at < len(loaded.blocks):
            raise ZobenchError(f"--layer {at}: {loaded.name} has decoder blocks 0 to {len(loaded.blocks) - 1}")
        return loaded, at


@shares
def bench(
    of: ModelOptions,
    written: WrittenOptions,
    preset: Annotated[
        BenchPreset, typer.Option(help="Tasks, steps, batch; `ci` has its own model.")
    ] = BenchPreset.paper,
    tasks: Annotated[str | None, typer.Option("--tasks", "-t", help=f"Comma separated. [{DEFAULT_TASKS}]")] = None,
    data_dir: DataDir = None,
    engine: Annotated[
        str, typer.Option(help="Engines beside official, comma separated; the first is in the ratios.")
    ] = "auto",
    estimator: Annotated[str | None, typer.Option(help="Whose steps. [the baseline of speed-ups]")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Timed steps of each.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Steps of each before them.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Examples a step. [16]")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU.")] = None,
    also: Annotated[
        str | None, typer.Option(help="Further rows, comma separated.", metavar="ESTIMATOR/SELECTOR")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of --also's estimators and selectors.", metavar="K=V")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Take as many of the steps as these have room for.")
    ] = None,
    compile_blocks: Annotated[
        bool, typer.Option("--compile", help="Run decoder blocks by torch.compile on all engines but official.")
    ] = False,
    cuda_graphs: Annotated[bool, typer.Option("--cuda-graphs", help="Time engines with CUDA graphs too.")] = False,
    plugin: PluginFiles = None,
) -> None:
    """Time steps: engines and scopes interleaved, medians after a warm-up, ratios against MeZO's order in the same run.

    Rows have the lengths of real ones, from a table in the package, or are real ones with --data-dir. Nothing is
    learnt: the learning rate is too small to move a weight.
    """
    of.check()
    written.check()
    from ..run.routing import parse_settings

    given = {"tasks": tasks, "steps": steps, "warmup": warmup, "batch_size": batch_size, "threads": threads}
    plugins = plugins_of(plugin)
    estimator, cls = _estimator(plugins, estimator)
    chosen = _chosen(preset, engine, estimator, {name: value for name, value in given.items() if value is not None})
    chosen |= {"compile": "blocks" if compile_blocks else "off", "cuda_graphs": cuda_graphs}
    chosen |= {"minutes": minutes, "also": _names(also or ""), "set": parse_settings(set_ or [])}
    import torch

    if chosen["threads"]:
        torch.set_num_threads(chosen["threads"])
    loaded, at = of.load(plugins, "ci" if preset is BenchPreset.ci else None)
    works = [_work(name, loaded, plugins, chosen, data_dir) for name in chosen["tasks"]]
    found, facts, machine = _measured(works, loaded, at, cls, chosen, plugins)
    data = "shipped lengths" if data_dir is None else str(data_dir)
    _end({**chosen, "data": data}, found, facts, machine, loaded, written)


def _check_graphs(chosen: dict[str, Any], loaded: LoadedModel) -> None:
    """ZobenchError for CUDA graphs where there can be none."""
    from ..protocol.protocol import computation_from
    from ..run.graphs import check

    if chosen["cuda_graphs"]:
        check(computation_from({"cuda_graphs": "on", "compile": chosen["compile"]}), loaded.devices)


def _end(
    settings: dict[str, Any],
    found: list[TaskMeasurement],
    facts: Facts,
    machine: Ceilings,
    loaded: LoadedModel,
    written: WrittenOptions,
) -> None:
    """Print the tables, and write what was asked for."""
    from ..bench import report
    from ..run.environment import describe
    from .bench_picture import drawn

    first = settings["engines"][0]
    numbers = report.as_json(found, facts, machine, first, settings, describe(loaded.devices))
    page = report.markdown(found, facts, machine, first) + "\n"
    written.end(page, numbers, lambda path: drawn(path, found))


def _estimator(plugins: Plugins, named: str | None) -> tuple[str, Any]:
    """Whose steps are timed, by name and class. ZobenchError for what makes none."""
    name = declared.one(plugins, "baseline", "--estimator") if named is None else named
    cls = plugins.estimator(name)
    if not cls.trains:
        raise ZobenchError(f"--estimator {name} is a reference that makes no steps of its own")
    return name, cls


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _chosen(preset: BenchPreset, engine: str, estimator: str, given: dict[str, Any]) -> dict[str, Any]:
    """What is to be timed: the preset, with what was given in its place."""
    from ..bench.sides import check_engines

    out = {**PRESETS[preset.value], **given, "preset": preset.value, "estimator": estimator}
    out["tasks"], out["engines"] = _names(out["tasks"]), _names(engine)
    check_engines(out["engines"])
    return out


def _measured(
    works: Sequence[Work], loaded: LoadedModel, layer: int, cls: Any, chosen: dict[str, Any], plugins: Plugins
) -> tuple[list[TaskMeasurement], Facts, Ceilings]:
    """Time all sides on every task, with a line that says where it is."""
    from rich.console import Console

    from ..bench.ceilings import ceilings
    from ..bench.further import further
    from ..bench.measure import measure
    from ..bench.minutes import planned
    from ..bench.report import Facts, TaskMeasurement
    from ..bench.sides import Timing, sides
    from ..protocol.protocol import computation_from
    from ..run import device_pace
    from ..run.device_defaults import COUNTED

    _check_graphs(chosen, loaded)
    facts = Facts(
        name=loaded.name,
        dtype=loaded.dtype,
        itemsize=next(loaded.model.parameters()).element_size(),
        parameters=loaded.parameters,
        block_parameters=sum(block.numel() for block in loaded.blocks),
        blocks=len(loaded.blocks),
        layer=layer,
    )
    found, compared = [], sides(chosen["engines"], ("full", "layer"), chosen["also"], graphs=chosen["cuda_graphs"])
    chosen["noise"] = "per_tensor" if loaded.device.type == "cpu" else COUNTED  # of all engines but official
    named = {"dtype": loaded.dtype, "noise": chosen["noise"], "rows": "packed", "compile": chosen["compile"]}
    wish = computation_from(named)
    rows = further(chosen["also"], chosen["set"], plugins, loaded, works[0])
    timing = Timing(loaded, cls, layer, wish, rows)
    console = Console(stderr=True)
    if chosen["minutes"] is not None:
        pace, sizes = device_pace.measured(loaded), {"steps": chosen["steps"], "warmup": chosen["warmup"]}
        plan = planned(compared, timing, works, loaded, pace, chosen["noise"], **sizes, minutes=chosen["minutes"])
        console.print(plan.line(chosen["minutes"], chosen["steps"]), highlight=False)
        chosen["steps"], chosen["planned_s"] = plan.steps, dict(plan.seconds)
    sizes = {"steps": chosen["steps"], "warmup": chosen["warmup"]}
    with console.status("", spinner="line") as status:
        machine = ceilings(loaded.device, next(loaded.model.parameters()).dtype)
        for work in works:
            found.append(TaskMeasurement(work, measure(compared, work, timing, **sizes, progress=status.update)))
            if not console.is_terminal:
                console.print(f"{work.task}: done", highlight=False)
    return found, facts, machine


def _work(name: str, loaded: LoadedModel, plugins: Plugins, chosen: dict[str, Any], data: Path | None) -> Work:
    from ..bench import lengths, work

    task, count = plugins.task(name), chosen["warmup"] + chosen["steps"]
    size, graphs = chosen["batch_size"], chosen["cuda_graphs"]
    if data is not None:
        return work.real(task, data, loaded, batch_size=size, batches=count, graphs=graphs)
    if name not in lengths.measured_tasks():
        raise ZobenchError(f"there are no lengths of task {name} in the package: give --data-dir")
    of = lengths.shipped(name)
    return work.made_up(name, task.train_loss, of, loaded, batch_size=size, batches=count, graphs=graphs)
