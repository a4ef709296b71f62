"""What a process holds of a cell while it runs it: the claim on it, its journal, and the drafts of its files."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..report import running
from . import past_run, stopping
from .artefacts import NO_MASKS, REPLAY, Artefacts, log_facts, plain
from .checksum import checksums
from .diary import Diary, LeadsElsewhere
from .journal import Journal
from .prefix import KeptCache
from .train import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocol.cell import Cell
    from ..report.record import Record
    from ..report.running import Claim
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from .method import Applied
    from .train import Watcher

OF_THE_MACHINE = ("device", "device_name", "processor", "threads", "git_commit")
"""What of a record's environment must be equal for a run to go on: other bits may come of another."""
DONE = ("ok", "diverged")
"""After these nothing is left to go on from."""


class Lost(BaseException):
    """Another process has taken the cell over, as this one gave no sign of life for long: it stops, and writes nothing.

    No Exception: a plugin that catches what it does not know does not stop it.
    """


def machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for a journal to be used, of a record's `environment`."""
    said = {name: environment.get(name) for name in OF_THE_MACHINE}
    said["device"] = str(said["device"]).partition(":")[0]  # any of the same name will do
    return said | {name: environment["packages"].get(name) for name in ("zobench", "torch")}


class Telling:
    """Passes on what a watcher hears, and has the claim say it (zobench.run.train.Watcher)."""

    def __init__(self, watcher: Watcher, of: Claim) -> None:
        self._watcher, self._claim = watcher, of

    def step(self, step: int, steps: int, lr: float, loss: Tensor) -> None:
        """After a step."""
        self._claim.facts = {"doing": "training", "lr": lr, "step": step, "steps": steps}
        self._watcher.step(step, steps, lr, loss)

    def dev(self, step: int, lr: float, loss: float) -> None:
        """After a dev evaluation."""
        self._watcher.dev(step, lr, loss)


class HeldCell:
    """A cell in hand. free: bytes that `auto` may reckon with, as of the process that began the cell."""

    def __init__(self, results: Path, cell: Cell, claim: Claim, head: Mapping[str, Any]) -> None:
        self.results, self.cell, self.claim = results, cell, claim
        self.journal, self.anew = Journal.open(results, cell.id, head)
        """`anew`: why what an earlier process left of the cell is not used."""
        self.artefacts = Artefacts(results, cell.id)
        self.in_time: Callable[[], None] = lambda: None
        self.warn: Callable[[str], None] = lambda line: None
        self._caches = 0
        self.free: int = {**head, **self.journal.head}["free"]
        self.machine: Mapping[str, Any] = head["machine"]
        """As of its journal: what must be equal for numbers to be."""
        self.run: str | None = head.get("run")
        self.asked_anew = head["rerun"] == "always"
        """What other runs left is not used."""

    def kept(self, prepared: PreparedTask) -> KeptCache | None:
        """Where the cache of a task is written down, if it has one: of several ranks each has its own, which is not."""
        if prepared.prefix is None or prepared.spread is not None:
            return None
        self._caches += 1
        return KeptCache(prepared.prefix, self.journal.beside(f"{self._caches}.cache"))

    def diary(self, key: Mapping[str, Any], kept: KeptCache | None, *, lines: bool = False) -> Diary:
        """Where the next training run of the cell is written down; `lines`: with those of the step log."""
        limit, taken = self.cell.computation.snapshot_limit, self.artefacts.take_lines if lines else str
        return Diary(self.journal, key, limit=limit, lines=taken, check=self.check, warn=self.warn, kept=kept)

    def probe_diary(self, key: Mapping[str, Any], prepared: PreparedTask) -> Diary:
        """That of a probe, whose cache no other run fills."""
        return self.diary(key, self.kept(prepared))

    def check(self) -> None:
        """Lost where another process has the cell now; what `in_time` raises where its time is over; a signal to end
        that a plugin caught.
        """
        stopping.check()
        self.in_time()
        if self.claim.lost:
            raise Lost(self.claim.what)

    def tell(self, **facts: Any) -> None:
        """What is being done, for whoever asks."""
        self.claim.facts = facts

    def start_over(self) -> None:
        """Nothing that was written down is used."""
        self.journal.forget()
        self.artefacts.discard()
        self.artefacts = Artefacts(self.results, self.cell.id)

    # ---- runs

    def keep(self, on: Applied, scope: Scope, run: Trained, *, better: bool) -> dict[str, Any]:
        """Keep what rebuilds the checkpoint of a run that is the best so far, as side files of the cell.

        `kept` says what was kept, None of another run; `log`: what a replay log says of its run.
        """
        if not better:
            return {"kept": None, "log": None}
        facts = log_facts(on, run, self.cell)
        if not (run.replayable and plain(scope)):
            masks = scope.masks if on.scope is not scope else NO_MASKS  # whole weights show what moved
            kept = self.artefacts.keep_weights(run.best, self.cell.computation.snapshot_limit, masks)
            return {"kept": kept, "log": facts}
        self.artefacts.keep_log([step for step in on.estimator.log if step.step < run.best_step], facts)
        return {"kept": REPLAY, "log": facts}

    def end(self, of: Diary, run: Trained, **facts: Any) -> None:
        """A learning rate is done, whatever comes of the cell."""
        weights = None
        if facts.get("kept") == "weights":
            weights = self.journal.beside(f"{of.number}.weights.safetensors")
            _same_file(self.artefacts.files.weights, weights)
        of.end(run, weights=None if weights is None else weights.name, first_wide=run.first_wide, **facts)

    def done(self, of: Diary, lr: float) -> Trained | None:
        """The run of a learning rate that an earlier process ended; None where there is none, or it must run again."""
        said = of.ended
        if said is None:
            return None
        run = Trained(lr, said["status"], said["message"], said["steps"], said["best_step"], said["best_loss"])
        run.curve = [(step, loss) for step, loss in said["curve"]]
        run.segments, run.first_wide, run.together = past_run.seconds(of), said["first_wide"], said["together"]
        run.eval_forwards, run.eval_s, run.train_s = said["eval_forwards"], said["eval_s"], said["train_s"]
        if said["kept"] is not None and not self._rebuilds(of, run):
            of.past = None
            return None
        self.artefacts.restore(past_run.pass_over(of))
        return run

    def _rebuilds(self, of: Diary, run: Trained) -> bool:
        """Whether the checkpoint of a run that ended can be had again; then it says how (`run.rebuild`)."""
        said = of.ended
        assert said is not None

        def check(on: Applied) -> None:
            now = checksums((h.name, h.param.detach()) for h in on.estimator.handles)
            if now != said["log"]["weights"]:
                raise LeadsElsewhere(f"the weights of step {run.best_step} are not those that it had")

        if said["weights"] is not None:
            path = self.journal.folder / said["weights"]

            def load(on: Applied) -> None:
                try:
                    on.put({name: t.to(on.estimator.handles[0].param.device) for name, t in load_file(path).items()})
                except (OSError, KeyError, RuntimeError, SafetensorError) as e:
                    raise LeadsElsewhere(f"the weights of step {run.best_step} cannot be read again: {e}") from e
                check(on)

            run.rebuild = load
            return bool(path.is_file())
        if not run.replayable:
            return False
        steps = past_run.logged(of, run.best_step)

        def replay(on: Applied) -> None:
            on.estimator.replay(steps)
            check(on)
            self.journal.past.replayed += len(steps)

        run.rebuild = replay
        return True

    def keep_again(self, of: Diary, run: Trained) -> None:
        """As `keep`, of a run that an earlier process ended."""
        said = of.ended
        assert said is not None
        if said["kept"] == REPLAY:
            self.artefacts.keep_log(past_run.logged(of, run.best_step), said["log"])
        elif said["weights"] is not None:
            self.artefacts.clear()
            _same_file(self.journal.folder / said["weights"], self.artefacts.files.weights)

    # ---- the end

    def resumed(self) -> dict[str, int] | None:
        """How often the cell went on in another process, and over how many steps; None where it never did."""
        past = self.journal.past
        return {"times": past.resumed, "replayed": past.replayed} if past.resumed else None

    def close(self, record: Record | None) -> None:
        """It is over here. record: what was put; None where none was, so that another process may go on."""
        done = record is not None and record["status"] in DONE and "retry" not in record
        self.journal.close(done=done)
        self.artefacts.discard()


def _same_file(path: Path, other: Path) -> None:
    """Give a file a second name; a copy where the system has no links."""
    with contextlib.suppress(FileNotFoundError):
        other.unlink()
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def claim(results: Path, what: str) -> running.Claim | running.Holder:
    """The claim on what this process is about to do in a results folder; else who holds it."""
    return running.Claim.take(Path(results) / running.FOLDER, what)
