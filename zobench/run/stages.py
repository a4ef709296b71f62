"""The stages of a cell: select, train each learning rate, choose on dev, read test once, measure speed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..report.record import Observed
from . import graphs, references, zero_shot
from .artefacts import REPLAY
from .computed import engine_info, of_forwards
from .grid import Grid
from .held_cell import HeldCell, Telling
from .memory_account import planned
from .method import Applied, Method, applied
from .outcome import Outcome, data_facts, heard, info, info_of_test, scope_info
from .past_run import lines_so_far
from .prefix import KeptCache, prefixed
from .selection import RunSelectionContext, of_model
from .speed_stage import SpeedStage
from .train import Trained, train
from .unchanged import Guard

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..protocol.cell import Cell
    from ..report.known import KnownNames
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from ..tasks.sampling import Splits
    from ..tasks.score import Score
    from .diary import Diary
    from .memory import PeakMemory
    from .progress import Reports
    from .session import Session

UNTOUCHED_NAN = "the untouched model gives scores that are no numbers; try another --dtype"


@dataclass
class Stages:
    """The stages of one cell. `out` collects what is known of the cell, also if a stage fails."""

    session: Session
    progress: Reports
    guard: Guard
    cell: Cell
    out: Outcome
    work: HeldCell
    known: KnownNames
    memory: PeakMemory

    def run(self) -> None:
        """Run all stages. Whatever stops one is raised, except a run that diverged, which is recorded."""
        loaded, cls = self.session.loaded, self.session.plugins.estimator(self.cell.estimator)
        if (stands := self.known.of(self.cell.estimator, self.cell.selector)) is not None:
            self.out.fields["stands"] = stands  # of a cell that fails, too
        self.out.memory["weights_bytes"] = sum(p.numel() * p.element_size() for p in loaded.model.parameters())
        prepared, splits = self.session.prepared(self.cell.task, self.cell.protocol, self.cell.computation.rows)
        prepared = prepared.scoring_in(self.cell.computation.scored_in)
        self._note(cls, prepared, splits)
        method = Method(
            cls,
            self.cell.estimator_settings,
            self.cell.computation,
            self.cell.protocol.weight_decay,
            free=self.work.free,
        )
        if cls.trains:
            scope = self._select(method, prepared)
            prepared = prefixed(prepared, self.session.loaded, scope, self.cell.computation)
            prepared = graphs.graphed(prepared, self.session.loaded, self.cell.computation)
            self.out.account = planned(self.cell, loaded, scope, prepared, cls, self.work.free)
            self.out.memory |= self.out.account.record()
            self._train(method, scope, prepared)
            if self.out.status != "ok":
                return
        elif references.learns(cls):
            self._fit(cls, prepared)
        self._zero_shot(prepared)
        if self.out.status != "ok":
            return
        if not cls.trains:
            if not references.learns(cls):
                self._score_untrained(prepared)
        elif self.cell.computation.speed_steps and (prepared.spread is None or prepared.spread.rank == 0):
            speed = SpeedStage(self.session, self.cell, self.out, self.guard, self.memory, self.progress.phase)
            speed.run(method.settled(self.out.fields["engine"]), scope, prepared.alone())

    def _note(self, cls: type[Estimator], prepared: PreparedTask, splits: Splits) -> None:
        """What the record says of the model, the data and the method, once the task is made ready."""
        loaded, fields = self.session.loaded, self.out.fields
        fields["capabilities"] = loaded.capabilities.record()
        if loaded.weights is not None:
            fields["weights"] = loaded.weights
        provenance = self.session.data(self.cell.task).provenance
        fields["data"] = data_facts(provenance, splits, prepared, loaded.left_out)
        if self.cell.data in self.known.sources:
            fields["data"]["source"] = dict(self.known.sources[self.cell.data])
        self.out.clusters = self.session.task(self.cell.task).clusters(splits.test)
        if guessed := self._guessed(cls):
            fields["unverified"] = guessed

    def _guessed(self, cls: type[Estimator]) -> list[str]:
        """Of the estimator and the selector those that say that a detail of them is a guess."""
        estimator = [self.cell.estimator] if cls.verified is False else []
        guessed = cls.trains and self.session.plugins.selector(self.cell.selector).verified is False
        return [*estimator, self.cell.selector] if guessed else estimator

    def _fit(self, cls: type[Estimator], prepared: PreparedTask) -> None:
        """Dev and test by a reference that learns; it hears of test after all is chosen."""
        self.progress.phase("fitting the reference")
        context = references.RunFitContext(self.session.loaded, prepared)
        try:
            with self.guard.watching(f"estimator {self.cell.estimator}, in fit,"):
                dev, test = references.scores(cls, self.cell, context, self.progress.items)
        finally:
            self.out.fields["selection"] = context.facts
            self.out.forwards.update(context.forwards)
            self.out.seconds.update(context.seconds)
        self.out.metrics["dev"], self.out.metrics["test"] = info(dev), info_of_test(test)

    def _select(self, method: Method, prepared: PreparedTask) -> Scope:
        start = time.perf_counter()
        self.progress.phase("selecting")
        self.work.tell(doing="selecting")
        selector = self.session.plugins.selector(self.cell.selector)(**self.cell.selector_settings)
        context = RunSelectionContext(
            self.session.loaded,
            prepared,
            method,
            self.cell.protocol,
            lr=self.cell.lrs[0],
            seed=self.cell.seed,
            progress=self.progress.phase,
            guard=self.guard,
            diary=self.work.probe_diary,
        )
        try:
            with self.guard.watching(f"selector {self.cell.selector}"):
                return of_model(selector.select(context), self.session.loaded, self.cell.selector)
        finally:
            self.out.fields["selection"] = context.facts
            self.out.forwards.update(context.forwards)
            self.out.seconds["select_s"] = time.perf_counter() - start

    def _train(self, method: Method, scope: Scope, prepared: PreparedTask) -> None:
        best: Trained | None = None
        grid, cache = Grid(self.cell.lrs, self.cell.protocol.further_lrs), self.work.kept(prepared)
        for lr in grid:
            with self.guard.watching(f"estimator {self.cell.estimator}, training at lr {lr:g},"):
                run = self._rate(method, scope, prepared, cache, lr, best)
            method = method.settled(self.out.fields["engine"])
            grid.heard(lr, run.best_loss if run.status == "ok" else None)
            best = run if _better(run, best) else best
            del run  # not to be held while the next one trains
        if best is None:
            self.out.status = "diverged"
            self.out.error = "; ".join(f"lr {t['lr']:g}: {t.get('message')}" for t in self.out.trials)
            return
        with self.guard.watching(f"reading what estimator {self.cell.estimator} trained"):
            self._read(method, scope, prepared, best)

    def _rate(
        self,
        method: Method,
        scope: Scope,
        prepared: PreparedTask,
        cache: KeptCache | None,
        lr: float,
        best: Trained | None,
    ) -> Trained:
        """Train at one learning rate; what rebuilds its checkpoint is kept where it is better than the best so far."""
        diary = self.work.diary({"lr": lr}, cache, lines=True)
        if (known := self._known(diary, lr, best)) is not None:
            return known
        if diary.began:
            method = method.settled(diary.began["engine"])
        loaded, keep = self.session.loaded, self.out.keep()
        parameters = loaded.parameters  # counted before anything stands on the model
        with applied(method, loaded, scope, lr=lr, seed=self.cell.seed, keep=keep) as on:
            on.estimator.timers.on = True
            _note_engine(self.out, on, of_forwards(prepared))
            self.out.fields.setdefault("scope", scope_info(on.scope, scope, parameters))
            diary.begin(engine=on.info)
            self.work.artefacts.restore(lines_so_far(diary))
            run = train(
                on.estimator,
                loaded,
                prepared,
                self.cell.protocol,
                lr=lr,
                seed=self.cell.seed,
                keep=keep,
                watcher=Telling(self.progress.watch(self.cell, self.work.artefacts), self.work.claim),
                diary=diary,
                beat=best,
            )
            _note_engine(self.out, on, graphs.observed(prepared))
            if run.together:
                _note_engine(self.out, on, {"points": "together"})
            better = _better(run, best)
            facts = {
                "forwards": dict(on.estimator.forwards),
                "state_bytes": on.estimator.state_bytes(),
                "engine": self.out.fields["engine"],
                "scope": self.out.fields["scope"],
                **self.work.keep(on, scope, run, better=better),
            }
            run.rebuilt = facts["kept"] == REPLAY
            self.work.end(diary, run, **facts)
            heard(self.out, run, facts, better=better)
        return run

    def _known(self, diary: Diary, lr: float, best: Trained | None) -> Trained | None:
        """The run of a learning rate that an earlier process ended, entered into the record."""
        run = self.work.done(diary, lr)
        if run is None or diary.ended is None:
            return None
        better = _better(run, best)
        if better:
            self.work.keep_again(diary, run)
        heard(self.out, run, diary.ended, better=better)
        return run

    def _read(self, method: Method, scope: Scope, prepared: PreparedTask, best: Trained) -> None:
        """Dev and test metric at the chosen checkpoint: the only place where test is read with tuned weights."""
        loaded = self.session.loaded
        keep = self.out.keep()
        self.out.fields["chosen"] = {"lr": best.lr, "step": best.best_step}
        medians = best.medians()
        if medians is not None:
            self.out.seconds.update({k: float(v) for k, v in medians.items()})  # type: ignore[arg-type]
        own = self.session.scored(self.cell, prepared)
        with applied(method, loaded, scope, lr=best.lr, seed=self.cell.seed, keep=keep) as on:
            if best.rebuild is not None:
                best.rebuild(on)
            elif best.best:
                on.put(best.best)
            else:  # a later rate wrote over it, and came to no good end
                on.estimator.replay(self.work.artefacts.kept_log().steps)
            dev, test = self._score_dev(own), self._score_test(own)
        if not (math.isfinite(dev.value) and math.isfinite(test.value)):
            self.out.status, self.out.error = "diverged", "the chosen weights give scores that are no numbers"
            return
        assert best.best_loss is not None
        self.out.metrics["dev"] = {**info(dev), "loss": best.best_loss}
        self.out.metrics["test"] = info_of_test(test)

    def _score_dev(self, prepared: PreparedTask) -> Score:
        self.progress.phase("scoring dev")
        start = time.perf_counter()
        dev = prepared.dev_score(self.session.loaded.model, self.progress.items)
        self.out.forwards["eval"] += dev.forwards
        self.out.seconds["eval_s"] = self.out.seconds.get("eval_s", 0.0) + time.perf_counter() - start
        return dev

    def _score_test(self, prepared: PreparedTask) -> Score:
        self.progress.phase("reading test")
        start = time.perf_counter()
        test = prepared.test_score(self.session.loaded.model, self.progress.items)
        self.out.forwards["eval"] += test.forwards
        self.out.seconds["eval_s"] = self.out.seconds.get("eval_s", 0.0) + time.perf_counter() - start
        return test

    def _score_untrained(self, prepared: PreparedTask) -> None:
        """Dev and test of the untouched model, as the estimator asks; by the table's rules test was just read."""
        own = self.session.scored(self.cell, prepared)
        with self.guard.watching(f"scoring for estimator {self.cell.estimator}"):
            dev = self._score_dev(own)
            test = self.out.metrics["zero_shot"] if own is prepared else info_of_test(self._score_test(own))
        if not (math.isfinite(dev.value) and math.isfinite(test["value"])):
            self.out.status, self.out.error = "diverged", UNTOUCHED_NAN
            return
        self.out.metrics["test"], self.out.metrics["dev"] = test, info(dev)

    def _zero_shot(self, prepared: PreparedTask) -> None:
        self.progress.phase("reading test of the untouched model")
        score = zero_shot.taken(self.session, self.cell, prepared, self.work, self.guard, self.progress.items)
        self.out.forwards["eval"] += score.forwards
        if not math.isfinite(score.value):
            self.out.status, self.out.error = "diverged", UNTOUCHED_NAN
            return
        self.out.metrics["zero_shot"] = info_of_test(score)


def _note_engine(out: Outcome, on: Applied, observed: Observed) -> None:
    """How losses were computed, into the record: of the first learning rate, as the later ones keep to it."""
    before = out.fields.get("engine")
    out.fields["engine"] = engine_info(on.info, on.drawn, on.compiled, observed, before=before)


def _better(run: Trained, best: Trained | None) -> bool:
    """Whether this run is to be chosen: it ended well, at a lower dev loss than the best so far (of equals, that)."""
    if run.status != "ok" or run.best_loss is None:
        return False
    return best is None or best.best_loss is None or run.best_loss < best.best_loss
