"""What the commands share that look into a model without training it: options, where it is, which outlier block."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    DataDir,
    Device,
    Dtype,
    ModelName,
    Offline,
    PluginFiles,
    PresetName,
    plugins_of,
)

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..run.place import Place

Batches = Annotated[int, typer.Option(help="Batches of training examples.", min=1)]
BatchSize = Annotated[int, typer.Option(help="Examples in a batch.", min=1)]
Eps = Annotated[float, typer.Option(help="The perturbation's scale.", min=0.0)]
DirectionSeeds = Annotated[str, typer.Option(help="Seeds of directions, comma separated.")]


@dataclass(frozen=True)
class LookOptions:
    """The options of a command that looks into a model: at which model, on which tasks."""

    tasks: Annotated[str, typer.Option("--tasks", "--task", "-t", help="Tasks, comma separated, or `all`.")]
    model: ModelName = None
    data_dir: DataDir = None
    preset: PresetName = None
    dtype: Annotated[Dtype, typer.Option(help="Of the weights.")] = Dtype.float32
    device: Device = "auto"
    offline: Offline = False
    plugin: PluginFiles = None

    def begin(self) -> tuple[Plugins, Place, str]:
        """The plugins, where model and data are, and the preset. Raises ZobenchError."""
        plugins = plugins_of(self.plugin)
        return plugins, *place_of(
            plugins, self.model, self.preset, self.data_dir, device=self.device, offline=self.offline
        )


def of_model(loaded: LoadedModel, **more: Any) -> dict[str, Any]:
    """What JSON says first: which model, in which dtype."""
    return {"model": loaded.name, "revision": loaded.revision, "dtype": loaded.dtype, **more}


def place_of(
    plugins: Plugins, model: str | None, preset: str | None, data_dir: Path | None, *, device: str, offline: bool
) -> tuple[Place, str]:
    """Where the model and the data are, and the preset; of what is not given the usual one. Raises ZobenchError."""
    from ..plugins import declared
    from ..run.place import Place, check_data_dir

    model = declared.one(plugins, "usual_model", "--model") if model is None else model
    name = declared.usual_preset(plugins, model) if preset is None else preset
    declared.check_preset(plugins, name)
    place = Place(model, data_dir, device=device, offline=offline)
    check_data_dir(place)
    return place, name


def looking_at(tasks: str, sample: Any, place: Any, loaded: Any, plugins: Plugins) -> Any:
    """(task, prepared, batches) of each of the tasks that are named. Raises ZobenchError."""
    import dataclasses

    from ..run.looks import sampled
    from ..run.place import data_source
    from ..run.wish import expand
    from ..tasks.source import load_pools

    named = [name.strip() for name in tasks.split(",") if name.strip()]
    for name in expand(named, plugins.names("tasks"), "task"):
        pools = load_pools(plugins.task(name), data_source(place, loaded, plugins), offline=place.offline)
        yield name, *sampled(dataclasses.replace(sample, task=name), plugins, pools, loaded)


def outlier_block(loaded: Any, batches: Sequence[Any], least: Mapping[str, float]) -> int | None:
    """The first outlier block by the usual rule; `least`: the model's own bars of rules (see outlier_bar)."""
    from ..models.activations import block_activations
    from ..models.outliers import choose_block

    return choose_block(block_activations(loaded, batches), ratio=least.get("plateau"))


def tell(line: str) -> None:
    """A line of progress on stderr."""
    print(f"zobench: {line}", file=sys.stderr)
