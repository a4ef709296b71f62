"""Cells as tasks of a Ray cluster: on what nodes it has, with retries where one is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from zobench import Natural, NonNegative, Positive, ZobenchError

from .extra import library

if TYPE_CHECKING:
    from zobench import Cell, Record, RunCell

PATIENCE_S = 30.0
"""For tasks that were cancelled to write what they know."""


class OnRay:
    """Each cell is a task that asks for `cpus`, `gpus` and `memory_gb`: as many at once as have room, or `jobs`.

    address: of a cluster, as `ray.init` takes it; empty: that of RAY_ADDRESS, else one is started on this machine.
    gpus: of a cell; none: 1, or 0 with --device cpu. retries: of a cell whose node or worker was lost.
    All nodes need zobench with its plugins, and must reach the results, the data and the model by the same paths.
    """

    needs: ClassVar[tuple[str, str]] = ("ray", "zobench[ray]")

    address: str = ""
    cpus: Positive = 1.0
    gpus: NonNegative | None = None
    memory_gb: NonNegative = 0.0
    retries: Natural = 3
    jobs: Natural = 0

    def run(self, cells: Sequence[Cell], run_cell: RunCell) -> Iterator[Record]:
        """Yield each cell's record as it is done. An interrupt cancels the tasks, which write their records."""
        ray = library("ray", "ray", "ray")
        ours = not ray.is_initialized()
        if ours:
            self._connect(ray)
        todo, worker = list(cells), ray.put(run_cell)
        waiting: dict[Any, Cell] = {}
        task = ray.remote(**self._wants(run_cell.device))(_run)
        try:
            while todo or waiting:
                while todo and (not self.jobs or len(waiting) < self.jobs):
                    cell = todo.pop(0)
                    waiting[task.remote(worker, cell)] = cell
                ready, _ = ray.wait(list(waiting), num_returns=1)
                yield _record(ray, ready[0], waiting.pop(ready[0]), run_cell)
        finally:
            if waiting:
                for one in waiting:
                    ray.cancel(one)
                ray.wait(list(waiting), num_returns=len(waiting), timeout=PATIENCE_S)
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        try:
            ray.init(address=self.address or None, log_to_driver=False, logging_level="warning")
        except (ConnectionError, OSError, ValueError, RuntimeError) as e:
            first = (str(e).strip().splitlines() or [type(e).__name__])[0]
            at = f"--set ray.address={self.address}: no cluster answers there" if self.address else "no cluster starts"
            raise ZobenchError(f"--executor ray: {at}: {first}") from e

    def _wants(self, device: str) -> dict[str, Any]:
        gpus = (0.0 if device == "cpu" else 1.0) if self.gpus is None else self.gpus
        wants: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": gpus, "max_retries": self.retries}
        return wants | ({"memory": int(self.memory_gb * 2**30)} if self.memory_gb else {})


def _record(ray: Any, done: Any, cell: Cell, run_cell: RunCell) -> Record:
    """The record that a task gave, or that its loss leaves. Raises what no cell could run for."""
    try:
        kind, value = ray.get(done)
    except ray.exceptions.RayError as e:
        if isinstance(cause := getattr(e, "cause", None), ZobenchError):  # of reading run_cell in the worker
            raise ZobenchError(str(cause)) from None
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        return run_cell.lost(cell, f"Ray lost it, with all retries: {type(e).__name__}: {first}")
    if kind == "fault":
        raise ZobenchError(value)
    return value  # type: ignore[no-any-return]


def _run(run_cell: RunCell, cell: Cell) -> tuple[str, Any]:
    """What a task does, in a process that keeps the model for the tasks that follow."""
    try:
        return "record", run_cell(cell)
    except ZobenchError as e:
        return "fault", str(e)
