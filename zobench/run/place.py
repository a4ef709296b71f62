"""Where a run finds its model and its data, and where it leaves its records."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ZobenchError, out_of_memory
from ..paths import is_folder
from ..plugins import declared
from ..plugins.discovery import describe_fault
from ..tasks.source import HUB
from .heap import keep_freed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..tasks.source import Where

Rerun = Literal["missing", "failed", "always"]


@dataclass(frozen=True)
class Place:
    """Where a run finds things and leaves them."""

    model: str
    data_dir: Path | None = None
    results: Path = Path("runs")
    device: str = "auto"
    offline: bool = False
    executor: str = "local"
    rerun: Rerun = "missing"
    spread: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the executor."""
    shard: tuple[int, int] = (1, 1)
    """(i, n): of the cells the i-th of n shares, from 1."""
    timeout: float = 0.0
    """Seconds that a cell may take in a process; 0: as long as it takes."""
    device_map: str = "auto"
    """How weights are spread over GPUs: one of zobench.models.placement.MAPS."""
    defaults_of: str | None = None
    """The type of device whose defaults hold; None: those of the device that cells run on."""

    def elsewhere(self) -> Place:
        """The same for a plan of another machine's GPU: its defaults hold, and this one's devices do not matter.

        ZobenchError where one of this machine's is named.
        """
        if self.device != "auto":
            raise ZobenchError(
                f"--for-device plans a run on another GPU, and --device {self.device} is here: leave one out"
            )
        return replace(self, device="cpu", device_map="auto", defaults_of="cuda")

    def anywhere(self, models: list[str]) -> Place:
        """The same for processes in other folders; `models`: the names that plugins offer."""
        model, path = self.model, Path(os.path.expanduser(self.model))
        if model not in models and path.exists():
            model = str(path.absolute())
        data = None if self.data_dir is None else self.data_dir.expanduser().absolute()
        return replace(self, model=model, data_dir=data, results=self.results.absolute())


def check_data_dir(place: Place) -> None:
    """ZobenchError where the user names a folder of data that is none."""
    if place.data_dir is not None and not is_folder(place.data_dir, "--data-dir"):
        raise ZobenchError(f"--data-dir {place.data_dir}: no such folder")


def data_source(place: Place, loaded: LoadedModel, plugins: Plugins) -> Where:
    """The source of the data: the folder that the user names, else what the model declares."""
    check_data_dir(place)
    return declared.where(plugins, loaded.data if place.data_dir is None else place.data_dir)


def check_map(place: Place, plugins: Plugins) -> None:
    """ZobenchError where weights cannot be spread as the user says."""
    if place.device_map == "auto":
        return
    from ..models import placement

    placement.check_map(place.device_map, place.device)
    if place.model in plugins.names("models"):
        raise ZobenchError(
            f"--device-map {place.device_map}: model {place.model} is placed by its plugin; leave it out"
        )
    if place.executor == "local" and place.device_map in placement.SPREADS and place.spread.get("jobs", 1) != 1:
        raise ZobenchError(
            f"--device-map {place.device_map}: of several --jobs each has one GPU; leave one of the two out, or give "
            "each its GPUs by another executor (zobench ls executors)"
        )


def check_model(loaded: LoadedModel) -> None:
    """ZobenchError for a model that no cell could use. Where memory runs out that is for the cells to say."""
    from ..models.capabilities import check_causal

    try:
        check_causal(loaded)
    except Exception as error:
        if not out_of_memory(error):
            raise


def load(place: Place, plugins: Plugins, dtype: str) -> LoadedModel:
    """The model by a plugin's name, which is its name in records; else from its folder or the hub.

    Raises ZobenchError for a function of a plugin that raises, or does not return a LoadedModel.
    """
    keep_freed()
    if place.model in plugins.names("models"):
        return _of_plugin(place, plugins, dtype)
    from ..models.load import load_model

    pinned = declared.revision(plugins, place.model)
    loaded = load_model(
        place.model,
        dtype=dtype,
        device=place.device,
        offline=place.offline,
        pinned=pinned,
        device_map=place.device_map,
    )
    if loaded.left_out:
        plugins.warn(f"model {loaded.name}: {loaded.left_out}")
    return loaded


def outlined(place: Place, plugins: Plugins, dtype: str) -> LoadedModel:
    """What is known of the model without its weights; of one that a plugin makes: the model itself."""
    keep_freed()  # forwards that are timed to plan are as those of the run
    if place.model in plugins.names("models"):
        return _of_plugin(place, plugins, dtype)
    from ..models.outline import outline

    pinned = declared.revision(plugins, place.model)
    return outline(place.model, dtype=dtype, device=place.device, offline=place.offline, pinned=pinned)


def _of_plugin(place: Place, plugins: Plugins, dtype: str) -> LoadedModel:
    from ..models.load import LoadedModel

    made, where = plugins.model(place.model), f"model {place.model!r} of {plugins.offer('models', place.model).by}"
    try:
        loaded: object = made(dtype=dtype, device=place.device)
    except (ZobenchError, MemoryError):
        raise
    except (Exception, SystemExit) as e:
        raise ZobenchError(f"{where} could not be loaded: {describe_fault(e)}") from e
    if not isinstance(loaded, LoadedModel):
        raise ZobenchError(f"{where}: its function returned {type(loaded).__name__}, not a zobench.LoadedModel")
    known = [HUB, *plugins.names("data_sources")]
    if not (isinstance(loaded.data, Path) or loaded.data in known):
        raise ZobenchError(f"{where}: its data are {loaded.data!r}; write {', '.join(known)}, or the Path of a folder")
    if isinstance(loaded.data, Path) and not is_folder(loaded.data, f"{where}: its data"):
        raise ZobenchError(f"{where}: its data {loaded.data}: no such folder")
    loaded.name = place.model
    return loaded
