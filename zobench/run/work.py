"""What executors are given to run cells with: it can be sent to other processes, which load the model themselves."""

from __future__ import annotations

import contextlib
import gc
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from ..plugins import transforms
from ..plugins.registry import load_plugins
from ..report import store
from ..report.record import NO_SELECTOR
from . import events
from .heap import keep_freed
from .place import Place, check_model, data_source, load

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..report.record import Record
    from ..tasks.source import Pools
    from .cell_runner import Runner
    from .progress import Reports
    from .ranks import Ranks
    from .session import Session


@dataclass(frozen=True)
class Order:
    """What another process needs to run cells: names, in the place of the objects of a session."""

    place: Place
    dtype: str
    plugin_files: tuple[str, ...] = ()
    only_plugins: str | None = None
    weights_bytes: int = 0
    """Of the model, as it will lie in memory."""
    asked: str = ""
    """The dtype that was asked for; `dtype` is another where a plugin's model has its own."""
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Names the run that the cells are of: in records, under `environment`."""

    @property
    def live(self) -> Path:
        """The folder in which processes tell how far they are."""
        return events.folder(self.place.results, self.run)


class RunInProcess:
    """Runs a cell in the process that it is called in, and returns its record, which is written by then.

    The first call loads the model; model, data and what was found of the task in hand are kept for those that follow,
    until a cell has another dtype.
    Pickled, it is its order alone: where it is read again the model is loaded there, once a process and run.
    """

    def __init__(self, order: Order, plugins: Plugins, reports: Reports | None = None) -> None:
        self.order, self.plugins, self.reports = order, plugins, reports
        self.ranks: Ranks | None = None
        """The processes that run each cell together."""
        self._session: Session | None = None
        self._runner: Runner | None = None
        self._known: tuple[LoadedModel | None, Mapping[str, Pools]] = (None, {})
        self._asked, self._dtype = order.asked or order.dtype, order.dtype

    def knows(self, loaded: LoadedModel | None, pools: Mapping[str, Pools]) -> None:
        """Set what this process already has loaded. `loaded`: the model, if it is loaded."""
        self._known = (loaded, pools)

    def __reduce__(self) -> tuple[Any, ...]:
        return _here, (self.order,)

    @property
    def weights_bytes(self) -> int:
        """Bytes of the model's weights in memory: what each process that runs cells takes at least."""
        return self.order.weights_bytes

    @property
    def device(self) -> str:
        """Where the cells shall run, as the user said it: auto, cpu, cuda, cuda:1."""
        return self.order.place.device

    @property
    def timeout(self) -> float:
        """Seconds that a cell may take; 0: as long as it takes."""
        return self.order.place.timeout

    @property
    def results(self) -> Path:
        """The folder of the records: every process that runs cells must reach it."""
        return self.order.place.results

    @property
    def session(self) -> Session:
        """The model with its tasks, in this process. Raises ZobenchError as `load` does, and for an unusable model."""
        if self._session is None:
            from .session import Session

            place, plugins, dtype = self.order.place, self.plugins, self._dtype
            if self.ranks is not None:
                place = replace(place, device=self.ranks.device(place.device))
            keep_freed()
            at_hand, pools = self._known
            loaded = load(place, plugins, dtype) if at_hand is None else at_hand
            check_model(loaded)
            reload = partial(load, _on_the_host(place), plugins, dtype)
            source = data_source(place, loaded, self.plugins)
            self._session = Session(loaded, plugins, source, place.offline, reload, dict(pools), self.ranks)
        return self._session

    def work(self, cell: Cell) -> float:
        """About how much work a cell is, in characters that are read; by the data that were planned with."""
        from .weight import characters

        return characters(cell, self.plugins, self._known[1].get(cell.task))

    def load(self) -> None:
        """Load the model into this process now. Raises ZobenchError as `session`."""
        assert self.session

    def __call__(self, cell: Cell) -> Record:
        """The record of the cell; one that fails has one too. Raises ZobenchError where no cell could run here."""
        from .stopping import stoppable

        self._take(cell.computation.dtype)
        if self._runner is None:
            from .cell_runner import Runner

            place = self.order.place
            assert self.reports is not None, "whoever runs cells says where to tell of them"
            self._runner = Runner(self.session, self.results, self.reports, rerun=place.rerun, timeout=place.timeout)
            self._runner.environment["run"] = self.order.run
        with stoppable():
            return self._runner(cell)

    def _take(self, dtype: str) -> None:
        """Have the model in the dtype of a cell: those of first-order methods may have another than the others."""
        if dtype == self._asked:
            return
        self._session = self._runner = None  # before the other is loaded: there may be no room for both
        self._known, self._asked, self._dtype = (None, self._known[1]), dtype, dtype
        gc.collect()

    def check_code(self, cell: Cell) -> None:
        """ZobenchError where a plugin's code is other here than where the cell was planned."""
        own = self.plugins.code(_used(cell, self.order.place.model, self.plugins))
        if changed := sorted(name for name in {*own, *cell.code} if own.get(name) != cell.code.get(name)):
            raise ZobenchError(
                f"{cell.id}: {', '.join(changed)} is other code in this process than where the run was planned: "
                "install the same version on all machines"
            )

    def lost(self, cell: Cell, why: str, *, again: bool = True) -> Record:
        """The record of a cell whose process ended without returning one: the record that it wrote, if any, else one
        that states `why`.

        again: the machine may be at fault, and the same command should run the cell again.
        """
        if (written := self.written(cell)) is not None:
            return written
        import torch

        from .artefacts import Artefacts
        from .environment import describe
        from .outcome import Outcome, as_record

        out = Outcome(status="error", error=why, fields={"retry": why} if again else {})
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = {**describe([torch.device("cpu")]), "run": self.order.run, "started": started, "memory": "not measured"}
        record = as_record(cell, out, {**facts, "device": self.device})
        Artefacts(self.results, cell.id).put(record, None)
        if self.reports is not None:
            self.reports.cell_end(record)
        return record

    def written(self, cell: Cell) -> Record | None:
        """The record of this cell that this run has written, in whatever process; None: there is none yet."""
        record = store.find(self.results, cell.id)
        if not isinstance(record, dict) or record["environment"].get("run") != self.order.run:
            return None
        return record if record["status"] != "interrupted" else None


LOOK_S = 2.0
"""Seconds between two looks at a cell that a lost process of the same run may still hold."""
_OURS: dict[str, RunInProcess] = {}
"""Of this process, by run: the latest alone, as each holds a model."""


def _here(order: Order) -> RunInProcess:
    """The one that this process has for the run, made now if need be: it tells of its cells in the run's files."""
    if order.run not in _OURS:
        _OURS.clear()
        teller = events.Teller(order.live)
        plugins = load_plugins(order.plugin_files, only=order.only_plugins, warn=teller.warn)
        _OURS[order.run] = Elsewhere(order, plugins, teller)
    return _OURS[order.run]


class Elsewhere(RunInProcess):
    """As RunInProcess, in a process that it was sent to: it holds that the code is what the cells were planned with."""

    def __call__(self, cell: Cell) -> Record:
        """As RunInProcess; the record that the run has of the cell where it was run before and its result was lost."""
        self.check_code(cell)
        begun = self.order.live / f"{cell.id}.begun"
        again = begun.exists()
        with contextlib.suppress(OSError):
            begun.touch()
        record = self.written(cell) or super().__call__(cell)
        while again and "elsewhere" in record:  # a process of this run had it before: it is dead, or will be done
            time.sleep(LOOK_S)
            record = self.written(cell) or super().__call__(cell)
        return record


def _used(cell: Cell, model: str, plugins: Plugins) -> list[tuple[str, str]]:
    """What the cell uses that a plugin may have brought, as (kind, name)."""
    named = [("tasks", cell.task), ("estimators", cell.estimator)]
    named += [("transforms", name) for name in transforms.names(cell.protocol.transform)]
    named += [("models", model)] if model in plugins.names("models") else []
    return named + ([("selectors", cell.selector)] if cell.selector != NO_SELECTOR else [])


def _on_the_host(place: Place) -> Place:
    return replace(place, device="cpu", device_map="auto")
