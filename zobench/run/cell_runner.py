"""One cell from start to record: select, train each learning rate, choose on dev, read test once, measure speed."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.transformed import transformed
from ..plugins import declared
from ..report import disk, running, store
from ..report.judge import mark, settled
from ..report.record import Record
from ..report.running import Holder
from . import failure, held_cell, limit, stopping
from .diary import LeadsElsewhere
from .environment import describe
from .held_cell import HeldCell, Lost, machine
from .memory import PeakMemory
from .method import free_of
from .outcome import Outcome, as_record, failed
from .ranks import Apart
from .stages import Stages
from .surroundings import seeded
from .transforms import changes_of
from .unchanged import Guard

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..report.running import Claim
    from .progress import Reports
    from .ranks import Ranks
    from .session import Session


class Runner:
    """Runs cells of one session and writes their records under `results`."""

    def __init__(
        self,
        session: Session,
        results: Path,
        progress: Reports,
        *,
        rerun: str = "missing",
        timeout: float = 0.0,
    ) -> None:
        """timeout: seconds that a cell may take; 0: as long as it takes."""
        self.session, self.results, self.progress = session, results, progress
        self.rerun, self.timeout = rerun, timeout
        self._watchdog: limit.Watchdog | None = None
        self.environment = describe(session.loaded.devices)  # now: a checkout may move on while cells run
        self.known = declared.known(session.plugins)
        self.guard = Guard(session.loaded, session.reload, session.plugins.warn)

    def __call__(self, cell: Cell) -> Record:
        """The record of the cell, written before it is returned. An interrupt writes one too, then goes on up.

        A cell that another process runs is left to it: what is returned then says so (`elsewhere`), and is no record in
        the folder; one that another has finished since it was planned is not run again, and its record is returned.
        The model is left as it was when this runner was made. ZobenchError where an earlier cell made that impossible.
        """
        if self.session.ranks is not None and self.session.ranks.broken is not None:
            raise Apart(f"the ranks came apart: {self.session.ranks.broken}: the same command goes on")
        with disk.writing(self.results, f"the claim on {cell.id}"):
            claim = held_cell.claim(self.results, cell.id)
        if isinstance(claim, Holder):
            return elsewhere(cell, claim)
        try:
            if (done := self._done_meanwhile(cell)) is not None:
                return done
            return self._claimed(cell, claim)
        finally:
            with stopping.held():
                claim.release()

    def _done_meanwhile(self, cell: Cell) -> Record | None:
        """The record that another process made of the cell since it was planned."""
        if cell.before is None:
            return None
        found = store.find(self.results, cell.id)
        new = isinstance(found, dict) and settled(found) and mark(found) != cell.before
        return found if isinstance(found, dict) and new else None

    def _head(self) -> dict[str, Any]:
        """What the journal of a cell begins with."""
        free = free_of(self.session.loaded)
        run = self.environment.get("run")
        return {"machine": machine(self.environment), "free": free, "rerun": self.rerun, "run": run}

    def _claimed(self, cell: Cell, claim: Claim) -> Record:
        self.guard.begin(cell.id)
        return self._run(cell, claim)

    def _run(self, cell: Cell, claim: Claim) -> Record:
        started, start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.perf_counter()
        with disk.writing(self.results, f"the journal of {cell.id}"):
            out, work = Outcome(), HeldCell(self.results, cell, claim, self._head())
        work.warn = self.session.plugins.warn
        if work.anew is not None:
            self.session.plugins.warn(f"{cell.id}: begins anew: {work.anew}")
        interrupt, ranks = None, self.session.ranks  # type: BaseException | None, Ranks | None
        if ranks is not None:
            ranks.begin(cell, work.journal.path)
        self.progress.cell_start(cell)
        memory = PeakMemory(self.session.loaded.devices)
        try:
            try:
                self._timed(cell, out, work, memory, started)
            except LeadsElsewhere as e:
                self.session.plugins.warn(f"{cell.id}: begins anew: {e}")
                work.start_over()
                out = Outcome()
                self._timed(cell, out, work, memory, started)
        except limit.TimedOut:
            out.status, out.error = "timeout", self._too_long()
        except Lost:
            work.close(None)
            return self._lost(cell)
        except (KeyboardInterrupt, GeneratorExit) as e:  # what stops the run, or the executor that asks for cells
            by = stopping.by(e) if isinstance(e, KeyboardInterrupt) else "the executor"
            out.status, out.error, interrupt = "interrupted", f"interrupted by {by}", e
        except BaseException as e:  # whatever is raised: a failed cell is a record, and the next cell runs
            failed(out, cell, e, self.known)
            if (why := failure.retry(e, self.session.loaded.device)) is not None:
                out.fields["retry"] = why
        with stopping.held():  # a cell that is over is written, whatever comes now
            if ranks is not None:
                out.fields["ranks"] = ranks.record()
                if interrupt is None:
                    _together(ranks, out)
            out.seconds["total_s"] = work.journal.past.seconds + time.perf_counter() - start
            made = self._put(cell, out, work, memory, started)
        if interrupt is not None:
            raise interrupt
        return made

    def _put(self, cell: Cell, out: Outcome, work: HeldCell, memory: PeakMemory, started: str) -> Record:
        """The record of a cell that is over, put in its place; where another process has the cell, what says so."""
        peak = memory.peak()
        out.memory |= {"speed_peak_bytes": peak} if "peak_bytes" in out.memory else {"peak_bytes": peak}
        if (resumed := work.resumed()) is not None:
            out.fields["resumed"] = resumed
        made = as_record(cell, out, {**self.environment, "started": started, "memory": memory.kind})
        record: Record | None = None
        try:
            if not work.claim.still_ours():
                return self._lost(cell)
            with disk.writing(self.results, f"the record of {cell.id}"):
                stays = not work.artefacts.put(made, out.traceback)
            record = made
        finally:
            work.close(record)
            work.claim.release()
        if stays:
            self.session.plugins.warn(f"{cell.id}: {out.status}; the record of before is better, and stays")
        self.progress.cell_end(made)
        return made

    def _timed(self, cell: Cell, out: Outcome, work: HeldCell, memory: PeakMemory, started: str) -> None:
        """All stages, in the time that there is."""
        stages = Stages(self.session, self.progress, self.guard, cell, out, work, self.known, memory)
        with contextlib.ExitStack() as held:
            if self.timeout:
                self._watchdog = self._watchdog or limit.Watchdog()
                record = as_record(cell, Outcome("timeout", self._too_long()), {**self.environment, "started": started})
                after = self.timeout + limit.GRACE_S
                held.enter_context(self._watchdog.over(after, self.results, record, work.claim.path))
            work.in_time = held.enter_context(limit.within(self.timeout))
            held.enter_context(seeded(cell.seed))
            changes = changes_of(cell, self.session, out)
            held.enter_context(self.guard.wearing(transformed(self.session.loaded, changes)))
            stages.run()

    def _too_long(self) -> str:
        return f"not over after {self.timeout:g} s (--timeout); --rerun failed goes on where it was"

    def _lost(self, cell: Cell) -> Record:
        """What to return of a cell that another process took over."""
        other = running.holder(self.results / running.FOLDER, cell.id)
        self.session.plugins.warn(f"{cell.id}: this process gave no sign of life for long, and {other} took it over")
        return elsewhere(cell, other)


def _together(ranks: Ranks, out: Outcome) -> None:
    """A cell is over on all ranks alike, or none of them can go on."""
    try:
        ranks.end(out.status)
    except Apart as e:
        if out.status == "ok":
            out.status, out.error = "error", str(e)
        out.fields["retry"] = "ranks came apart"


def elsewhere(cell: Cell, holder: Holder | None) -> Record:
    """The stand-in for the record of a cell that another process is running; it is written nowhere."""
    out = Outcome("interrupted", f"runs elsewhere: {holder}")
    out.fields["elsewhere"] = str(holder)
    return as_record(cell, out, {})
