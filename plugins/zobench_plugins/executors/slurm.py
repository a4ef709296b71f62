"""Cells as jobs of Slurm, by submitit: an array of them, each requeued where its time is over before its cells are."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from zobench import Count, Natural, Positive, ZobenchError

from .extra import library
from .processes import Processes

if TYPE_CHECKING:
    from zobench import Cell, Record, RunCell

LOOK_S = 1.0
"""Between two looks at the jobs."""


class Submitit:
    """One array of jobs, each of `cells_per_job` cells, of which `jobs` run at once (0: as many as the cluster gives).

    A job that is preempted or reaches its limit of `hours` is told so before (`warning_s`), stops its cell as SIGTERM
    does, and is requeued: it goes on with what is not done. One that is lost is submitted anew, `restarts` times.
    gpus: of a job; none: 1, or 0 with --device cpu. cluster: slurm, or local: processes of this machine, to try it.
    """

    needs: ClassVar[tuple[str, str]] = ("submitit", "zobench[slurm]")

    cluster: str = "slurm"
    partition: str = ""
    account: str = ""
    qos: str = ""
    hours: Positive = 24.0
    cpus: Count = 4
    gpus: Natural | None = None
    memory_gb: Natural = 0
    cells_per_job: Count = 1
    warning_s: Natural = 90
    restarts: Natural = 20
    jobs: Natural = 0

    def run(self, cells: Sequence[Cell], run_cell: RunCell) -> Iterator[Record]:
        """Yield each cell's record when its job is over. An interrupt cancels the jobs that are not."""
        submitit = library("submitit", "submitit", "slurm")
        folder = run_cell.results / ".submitit"
        spread = self._executor(submitit, folder, run_cell.device)
        tries = {cell.id: 0 for cell in cells}
        at_work = self._submit(spread, list(cells), run_cell)
        try:
            while at_work:
                time.sleep(LOOK_S)
                for job in [job for job in at_work if job.done()]:
                    lost = yield from self._over(job, at_work.pop(job), run_cell, tries)
                    at_work |= self._submit(spread, lost, run_cell) if lost else {}
        finally:
            for job in at_work:
                job.cancel()
        shutil.rmtree(folder, ignore_errors=True)  # what jobs printed; it stays where something went wrong

    def _executor(self, submitit: Any, folder: Any, device: str) -> Any:
        limits = {f"{self.cluster}_max_num_timeout": self.restarts}
        gpus = (0 if device == "cpu" else 1) if self.gpus is None else self.gpus
        try:
            spread = submitit.AutoExecutor(folder=folder, cluster=self.cluster, **limits)
        except (RuntimeError, ValueError, TypeError) as e:
            raise ZobenchError(f"--executor submitit, cluster={self.cluster}: {e}") from e
        wants = {"name": "zobench", "timeout_min": max(1, round(60 * self.hours)), "gpus_per_node": gpus}
        wants |= {"cpus_per_task": self.cpus} | ({"mem_gb": self.memory_gb} if self.memory_gb else {})
        if self.cluster == "slurm":
            named = {"partition": self.partition, "account": self.account, "qos": self.qos}
            wants |= {f"slurm_{key}": value for key, value in named.items() if value}
            wants |= {"slurm_signal_delay_s": self.warning_s, "slurm_array_parallelism": self.jobs or 1000}
        spread.update_parameters(**wants)
        return spread

    def _submit(self, spread: Any, cells: list[Cell], run_cell: RunCell) -> dict[Any, list[Cell]]:
        parts = [cells[i : i + self.cells_per_job] for i in range(0, len(cells), self.cells_per_job)]
        with spread.batch():
            jobs = [spread.submit(SlurmWork(run_cell, self.cpus), part) for part in parts]
        return dict(zip(jobs, parts, strict=True))

    def _over(
        self, job: Any, cells: list[Cell], run_cell: RunCell, tries: dict[str, int]
    ) -> Generator[Record, None, list[Cell]]:
        """Yield what a job that is over has done; returns what it lost and shall be submitted anew."""
        fault = _result(job)
        lost = []
        for cell in cells:
            if (record := run_cell.written(cell)) is not None:
                yield record
            elif fault:
                raise ZobenchError(fault)
            elif tries[cell.id] >= self.restarts:
                yield run_cell.lost(cell, f"its job {job.job_id} ended as {job.state}, with all restarts")
            else:
                tries[cell.id] += 1
                lost.append(cell)
        return lost


def _result(job: Any) -> str:
    """Why no cell could run in a job that is over; empty where cells ran, or the job was lost."""
    try:
        return str(job.result())
    except Exception:  # whatever submitit says of a job without a result: its cells' records are what counts
        return ""


class SlurmWork:
    """What a job does: its cells, in a process of their own, so that submitit's signals end no step in its middle."""

    def __init__(self, run_cell: RunCell, threads: int) -> None:
        self.run_cell, self.threads = run_cell, threads
        self._processes: Processes | None = None

    def __call__(self, cells: Sequence[Cell]) -> str:
        """Run them; says why none could run here, else nothing."""
        self._processes = Processes(self.run_cell, [None], self.threads)
        left = [cell for cell in cells if self.run_cell.written(cell) is None]
        try:
            for _ in self._processes.run(left):
                pass
        except ZobenchError as e:
            return str(e)
        return ""

    def checkpoint(self, cells: Sequence[Cell]) -> Any:
        """Submitit asks before it requeues the job: the cell at work stops and writes what it knows."""
        submitit = library("submitit", "submitit", "slurm")
        if self._processes is not None:
            self._processes.stop(signal.SIGTERM)
        return submitit.helpers.DelayedSubmission(SlurmWork(self.run_cell, self.threads), cells)
