"""One cell from start to record: select, train each learning rate, choose on dev, read test once, measure speed."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..estimator.vocabulary import Diverged
from ..report import store
from ..report.record import Observed, Record
from . import failure, references, stopping
from .artefacts import Artefacts
from .computed import engine_info, of_forwards
from .environment import describe
from .grid import Grid
from .memory import PeakMemory
from .method import Applied, Method, applied, free_bytes, keeper, scope_bytes
from .outcome import Outcome, as_record, count, data_facts, failed, info, scope_info
from .prefix import prefixed
from .selection import RunSelectionContext, everything, of_model
from .speed import Sides, measure
from .surroundings import seeded
from .train import Trained, train
from .unchanged import Guard, ModelChanged

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..protocol.cell import Cell
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask, Score
    from .progress import Reports
    from .session import Session

SPEED_BASELINE = "mezo"
"""The estimator whose step in the official order over the full scope every speed-up is relative to."""

UNTOUCHED_NAN = "the untouched model gives scores that are no numbers; try another --dtype"


class Runner:
    """Runs cells of one session and writes their records under `results`."""

    def __init__(self, session: Session, results: Path, progress: Reports) -> None:
        self.session, self.results, self.progress = session, results, progress
        self.environment = describe(session.loaded.devices)  # now: a checkout may move on while cells run
        self.guard = Guard(session.loaded, session.reload, session.plugins.warn)

    def __call__(self, cell: Cell) -> Record:
        """The record of the cell, written before it is returned. An interrupt writes one too, then goes on up.

        The model is left as it was when this runner was made. ZobenchError where an earlier cell made that impossible.
        """
        self.guard.begin(cell.id)
        started, start = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.perf_counter()
        out, artefacts = Outcome(), Artefacts(self.results, cell.id)
        interrupt: BaseException | None = None
        self.progress.cell_start(cell)
        memory = PeakMemory(self.session.loaded.devices)
        try:
            with seeded(cell.seed):
                self._run(cell, out, artefacts)
        except (KeyboardInterrupt, GeneratorExit) as e:  # what stops the run, or the executor that asks for cells
            by = stopping.by(e) if isinstance(e, KeyboardInterrupt) else "the executor"
            out.status, out.error, interrupt = "interrupted", f"interrupted by {by}", e
        except BaseException as e:  # whatever is raised: a failed cell is a record, and the next cell runs
            failed(out, cell, e)
            if (why := failure.retry(e, self.session.loaded.device)) is not None:
                out.fields["retry"] = why
        out.memory["peak_bytes"] = memory.peak()
        out.seconds["total_s"] = time.perf_counter() - start
        record = as_record(cell, out, {**self.environment, "started": started, "memory": memory.kind})
        try:
            with stopping.held():  # a cell that is done is written, whatever comes now
                stays = not artefacts.put(record, out.traceback)
        except OSError as e:
            raise ZobenchError(
                f"cannot write the record of {cell.id} to {self.results / store.CELLS}: {e.strerror}; mend that, and "
                "the same command runs this cell again"
            ) from e
        if stays:
            self.session.plugins.warn(f"{cell.id}: {out.status}; the record of before is better, and stays")
        self.progress.cell_end(record)
        if interrupt is not None:
            raise interrupt
        return record

    def _run(self, cell: Cell, out: Outcome, artefacts: Artefacts) -> None:
        loaded = self.session.loaded
        out.memory["weights_bytes"] = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
        prepared, splits = self.session.prepared(cell.task, cell.protocol, cell.computation.rows)
        out.fields["capabilities"] = loaded.capabilities.record()
        if loaded.weights is not None:
            out.fields["weights"] = loaded.weights
        provenance = self.session.data(cell.task).provenance
        out.fields["data"] = data_facts(provenance, splits, prepared, loaded.left_out)
        out.clusters = self.session.task(cell.task).clusters(splits.test)
        cls = self.session.plugins.estimator(cell.estimator)
        if guessed := self._guessed(cell, cls):
            out.fields["unverified"] = guessed
        method = Method(
            cls,
            cell.estimator_settings,
            cell.computation,
            cell.protocol.weight_decay,
            free=free_bytes(loaded.device),
        )
        if cls.trains:
            scope = self._select(cell, out, method, prepared)
            prepared = prefixed(prepared, self.session.loaded, scope, cell.computation)
            self._train(cell, out, artefacts, method, scope, prepared)
            if out.status != "ok":
                return
        elif references.learns(cls):
            self._fit(cell, out, cls, prepared)
        self._zero_shot(cell, out, prepared)
        if out.status != "ok":
            return
        if not cls.trains:
            if not references.learns(cls):
                self._score_untrained(cell, out, prepared)
        elif cell.computation.speed_steps:
            self._speed(cell, out, method.settled(out.fields["engine"]), scope, prepared)

    def _guessed(self, cell: Cell, cls: type[Estimator]) -> list[str]:
        """Of the estimator and the selector those that say that a detail of them is a guess."""
        estimator = [cell.estimator] if cls.verified is False else []
        guessed = cls.trains and self.session.plugins.selector(cell.selector).verified is False
        return [*estimator, cell.selector] if guessed else estimator

    def _fit(self, cell: Cell, out: Outcome, cls: type[Estimator], prepared: PreparedTask) -> None:
        """Dev and test by a reference that learns; it hears of test after all is chosen."""
        self.progress.phase("fitting the reference")
        context = references.RunFitContext(self.session.loaded, prepared)
        try:
            with self.guard.watching(f"estimator {cell.estimator}, in fit,"):
                dev, test = references.scores(cls, cell, context, self.progress.items)
        finally:
            out.fields["selection"] = context.facts
            out.forwards.update(context.forwards)
            out.seconds.update(context.seconds)
        out.metrics["dev"], out.metrics["test"] = info(dev), info(test)

    def _select(self, cell: Cell, out: Outcome, method: Method, prepared: PreparedTask) -> Scope:
        start = time.perf_counter()
        self.progress.phase("selecting")
        selector = self.session.plugins.selector(cell.selector)(**cell.selector_settings)
        context = RunSelectionContext(
            self.session.loaded,
            prepared,
            method,
            cell.protocol,
            lr=cell.lrs[0],
            seed=cell.seed,
            progress=self.progress.phase,
            guard=self.guard,
        )
        try:
            with self.guard.watching(f"selector {cell.selector}"):
                return of_model(selector.select(context), self.session.loaded, cell.selector)
        finally:
            out.fields["selection"] = context.facts
            out.forwards.update(context.forwards)
            out.seconds["select_s"] = time.perf_counter() - start

    def _train(
        self, cell: Cell, out: Outcome, artefacts: Artefacts, method: Method, scope: Scope, prepared: PreparedTask
    ) -> None:
        best: Trained | None = None
        grid = Grid(cell.lrs, cell.protocol.further_lrs)
        for lr in grid:
            with self.guard.watching(f"estimator {cell.estimator}, training at lr {lr:g},"):
                run = self._rate(cell, out, artefacts, method, scope, prepared, lr, best)
            method = method.settled(out.fields["engine"])
            grid.heard(lr, run.best_loss if run.status == "ok" else None)
            best = run if _better(run, best) else best
            del run  # not to be held while the next one trains
        if best is None:
            out.status = "diverged"
            out.error = "; ".join(f"lr {t['lr']:g}: {t.get('message')}" for t in out.trials)
            return
        with self.guard.watching(f"reading what estimator {cell.estimator} trained"):
            self._read(cell, out, method, scope, prepared, best)

    def _rate(
        self,
        cell: Cell,
        out: Outcome,
        artefacts: Artefacts,
        method: Method,
        scope: Scope,
        prepared: PreparedTask,
        lr: float,
        best: Trained | None,
    ) -> Trained:
        """Train at one learning rate; what rebuilds its checkpoint is kept where it is better than the best so far."""
        loaded, keep = self.session.loaded, keeper(self.session.loaded, scope_bytes(scope))
        with applied(method, loaded, scope, lr=lr, seed=cell.seed, keep=keep) as on:
            on.estimator.timers.on = True
            _note_engine(out, on, of_forwards(prepared))
            out.fields.setdefault("scope", scope_info(on.scope, scope, loaded.parameters))
            watcher = self.progress.watch(cell, artefacts)
            run = train(
                on.estimator, loaded, prepared, cell.protocol, lr=lr, seed=cell.seed, keep=keep, watcher=watcher
            )
            out.memory["state_bytes"] = max(out.memory.get("state_bytes", 0), on.estimator.state_bytes())
            for purpose, n in on.estimator.forwards.items():
                out.forwards[purpose] += n
            count(out, run)
            if run.together:
                _note_engine(out, on, {"points": "together"})
            if _better(run, best):
                out.fields["kept"] = artefacts.keep_run(on, scope, run, cell)
        return run

    def _read(
        self, cell: Cell, out: Outcome, method: Method, scope: Scope, prepared: PreparedTask, best: Trained
    ) -> None:
        """Dev and test metric at the chosen checkpoint: the only place where test is read with tuned weights."""
        loaded = self.session.loaded
        keep = keeper(loaded, scope_bytes(scope))
        out.fields["chosen"] = {"lr": best.lr, "step": best.best_step}
        medians = best.medians()
        if medians is not None:
            out.seconds.update({k: float(v) for k, v in medians.items()})  # type: ignore[arg-type]
        own = self.session.scored(cell, prepared)
        with applied(method, loaded, scope, lr=best.lr, seed=cell.seed, keep=keep) as on:
            on.put(best.best)
            dev, test = self._score_dev(out, own), self._score_test(out, own)
        if not (math.isfinite(dev.value) and math.isfinite(test.value)):
            out.status, out.error = "diverged", "the chosen weights give scores that are no numbers"
            return
        assert best.best_loss is not None
        out.metrics["dev"] = {**info(dev), "loss": best.best_loss}
        out.metrics["test"] = info(test)

    def _score_dev(self, out: Outcome, prepared: PreparedTask) -> Score:
        self.progress.phase("scoring dev")
        start = time.perf_counter()
        dev = prepared.dev_score(self.session.loaded.model, self.progress.items)
        out.forwards["eval"] += dev.forwards
        out.seconds["eval_s"] = out.seconds.get("eval_s", 0.0) + time.perf_counter() - start
        return dev

    def _score_test(self, out: Outcome, prepared: PreparedTask) -> Score:
        self.progress.phase("reading test")
        start = time.perf_counter()
        test = prepared.test_score(self.session.loaded.model, self.progress.items)
        out.forwards["eval"] += test.forwards
        out.seconds["eval_s"] = out.seconds.get("eval_s", 0.0) + time.perf_counter() - start
        return test

    def _score_untrained(self, cell: Cell, out: Outcome, prepared: PreparedTask) -> None:
        """Dev and test of the untouched model, as the estimator asks; by the table's rules test was just read."""
        own = self.session.scored(cell, prepared)
        with self.guard.watching(f"scoring for estimator {cell.estimator}"):
            dev = self._score_dev(out, own)
            test = out.metrics["zero_shot"] if own is prepared else info(self._score_test(out, own))
        if not (math.isfinite(dev.value) and math.isfinite(test["value"])):
            out.status, out.error = "diverged", UNTOUCHED_NAN
            return
        out.metrics["test"], out.metrics["dev"] = test, info(dev)

    def _zero_shot(self, cell: Cell, out: Outcome, prepared: PreparedTask) -> None:
        self.progress.phase("reading test of the untouched model")
        try:
            with self.guard.watching("scoring the untouched model"):
                score = self.session.untouched(cell.task, cell.protocol, prepared, self.progress.items)
        except ModelChanged:
            self.session.zero_shot.clear()
            raise
        out.forwards["eval"] += score.forwards
        if not math.isfinite(score.value):
            out.status, out.error = "diverged", UNTOUCHED_NAN
            return
        out.metrics["zero_shot"] = info(score)

    def _speed(self, cell: Cell, out: Outcome, method: Method, scope: Scope, prepared: PreparedTask) -> None:
        self.progress.phase("measuring the speed-up")
        loaded = self.session.loaded
        sides = Sides(
            baseline=Method.official(self.session.plugins.estimator(SPEED_BASELINE), cell.computation),
            baseline_scope=everything(loaded),
            own=method,
            own_scope=scope,
        )
        keep = keeper(loaded, out.memory["weights_bytes"])
        try:
            with self.guard.watching(f"measuring the speed of estimator {cell.estimator}"):
                out.fields["speed"], forwards = measure(
                    sides, loaded, prepared, cell.protocol, seed=cell.seed, keep=keep
                )
        except Diverged as e:  # the scores stand; only this measurement has failed, of either side
            out.fields["data"]["notes"]["speed"] = f"not measured: {e}"
            return
        out.forwards["speed"] += forwards


def _note_engine(out: Outcome, on: Applied, observed: Observed) -> None:
    """How losses were computed, into the record: of the first learning rate, as the later ones keep to it."""
    before = out.fields.get("engine")
    out.fields["engine"] = engine_info(on.info, on.drawn, on.compiled, observed, before=before)


def _better(run: Trained, best: Trained | None) -> bool:
    """Whether this run is to be chosen: it ended well, at a lower dev loss than the best so far (of equals, that)."""
    if run.status != "ok" or run.best_loss is None:
        return False
    return best is None or best.best_loss is None or run.best_loss < best.best_loss
