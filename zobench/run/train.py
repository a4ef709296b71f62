"""The training loop: steps in MeZO's order, dev loss every N of them, the best checkpoint kept. It knows no method."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..engine.objective import Objective
from ..estimator.estimator import Diverged
from ..models.capabilities import points_together
from ..report.record import PhaseTimes, Status
from ..tasks.batch import Batch
from ..tasks.entering import entering
from ..timers import StepTimes
from .batch_order import batches
from .budget import Budget, clock, forwards_spent
from .ranked import RankedObjective
from .ranks import Ranks

if TYPE_CHECKING:
    from torch import Tensor

    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..protocol.protocol import Protocol as ProtocolSettings
    from ..tasks.prepared import PreparedTask
    from .method import Applied

Keep: TypeAlias = "Callable[[Tensor], Tensor]"
"""Copies a tensor to where checkpoints are held."""
WARMUP_STEPS = 3  # left out of the medians where there are enough others: first steps allocate


class Watcher(Protocol):
    """What wants to know how training goes: the progress bar, the step log, the plugins' observers."""

    def step(self, step: int, steps: int, lr: float, loss: Tensor) -> None:
        """After a step; `loss` is the first that it looked at."""

    def dev(self, step: int, lr: float, loss: float) -> None:
        """After a dev evaluation at a checkpoint."""


class Written(Protocol):
    """Where a run is written down (zobench.run.diary)."""

    def go_on(self, estimator: Estimator, feed: Feed, out: Trained, budget: Budget, keep: Keep) -> None:
        """Bring a run that stands at its first step to where an earlier process left it."""

    def stepped(self, estimator: Estimator, feed: Feed, out: Trained, budget: Budget, *, evaluated: bool) -> None:
        """After a step, and the evaluation that followed it."""


@dataclass
class Trained:
    """The result of one training run.

    best: the tensors of the scope at the best checkpoint. Empty if an earlier run was better, or if a later run reused
    the memory, which it may when the checkpoint can be `rebuilt` from its log.
    """

    lr: float
    status: Status = "ok"
    message: str | None = None
    steps: int = 0
    best_step: int = 0
    best_loss: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    segments: list[list[StepTimes]] = field(default_factory=lambda: [[]])
    """Times of the steps, one list for each process that made some of them."""
    eval_forwards: int = 0
    eval_s: float = 0.0
    train_s: float = 0.0
    rebuilt: bool = False
    together: bool = False  # the points of a call were looked at in one forward
    first_wide: int | None = None  # the step that first saw more than scalars, from 0
    rebuild: Callable[[Applied], None] | None = None
    """For a run that an earlier process ended: puts the best checkpoint into the model, as `best` is empty then."""

    @property
    def replayable(self) -> bool:
        """Whether the log of its steps rebuilds the best checkpoint."""
        return self.first_wide is None or self.first_wide >= self.best_step

    def took(self, times: list[StepTimes]) -> list[StepTimes]:
        """Append the times of further steps, and return them."""
        self.segments[-1] += times
        return times

    def medians(self) -> PhaseTimes | None:
        """Medians of the seconds of a step by phase, the first steps of a process left out where others remain."""
        settled = [one for segment in self.segments for one in segment[WARMUP_STEPS:]]
        every = [one for segment in self.segments for one in segment]
        return median_phases([phase_times(one) for one in settled or every])


def median_phases(steps: list[PhaseTimes]) -> PhaseTimes | None:
    """The median of each phase on its own; None of no steps."""
    if not steps:
        return None
    return PhaseTimes(
        forward_s=statistics.median(s["forward_s"] for s in steps),
        perturb_s=statistics.median(s["perturb_s"] for s in steps),
        update_s=statistics.median(s["update_s"] for s in steps),
        step_s=statistics.median(s["step_s"] for s in steps),
    )


def on_device(prepared: PreparedTask, loaded: LoadedModel, indices: list[int]) -> Batch:
    """The training examples with these indices as a batch where the model is."""
    return prepared.train_batch(indices).to(loaded.device)


class Feed:
    """The batches of a run as objectives, and extra batches for methods that ask for fresh ones.

    batched: objectives may be evaluated at several points in one forward pass (see `batches_for`).
    """

    def __init__(self, loaded: LoadedModel, prepared: PreparedTask, batch_size: int, seed: int) -> None:
        self.loaded, self.prepared, self.batched = loaded, prepared, False
        self.order = batches(prepared.train_size, batch_size, seed)
        self.extra_order = batches(prepared.train_size, batch_size, seed + 1_000_003)
        self.extra_taken = self.taken = 0

    def batches_for(self, estimator: Estimator) -> None:
        """Decide whether objectives are evaluated at several points in one forward pass, if the engine can make use of
        it.
        """
        of = self.prepared
        may = estimator.engine.together and of.loss_name != "non_diff"  # which calls the model again and again
        self.batched = may and points_together(self.loaded, of.forward, of.rows == "packed")

    def objective(self) -> Objective:
        """The objective of the next batch."""
        self.taken += 1
        if isinstance(self.prepared.spread, Ranks):
            self.prepared.spread.steps += 1
        return self._objective(next(self.order), f"batch {self.taken}")

    def _extra(self) -> Iterator[Objective]:
        for indices in self.extra_order:
            self.extra_taken += 1
            yield self._objective(indices, f"further batch {self.extra_taken}")

    def _objective(self, indices: list[int], of: str) -> Objective:
        ranks = self.prepared.spread
        mine = indices if ranks is None else indices[ranks.rank :: ranks.size]
        batch = on_device(self.prepared, self.loaded, mine or indices[:1])
        made = Objective(
            self.loaded.model,
            self.prepared.loss,
            batch,
            extra=self._extra(),
            batched=self.batched,
            entering=partial(entering, self.loaded.model, self.prepared.loss_name),
            examples=lambda: [on_device(self.prepared, self.loaded, [i]) for i in indices],
            replayable=self.prepared.replayable if self.prepared.graphs is not None else None,
        )
        if not isinstance(ranks, Ranks):
            return made
        parts = [partial(on_device, self.prepared, self.loaded, [i]) for i in indices]
        return RankedObjective.made(made, ranks, of, self.prepared.weight(batch) if mine else 0.0, parts)


def train(
    estimator: Estimator,
    loaded: LoadedModel,
    prepared: PreparedTask,
    protocol: ProtocolSettings,
    *,
    lr: float,
    seed: int,
    keep: Callable[[Tensor], Tensor],
    watcher: Watcher | None = None,
    diary: Written | None = None,
    beat: Trained | None = None,
) -> Trained:
    """Train for protocol.steps steps, or for its forwards or seconds, and keep the checkpoint of the lowest dev loss.

    The dev loss is taken at multiples of `eval_every` (so never at step 0; see Budget for other budgets); of equal
    ones the earlier is kept (protocol, section 8). A loss that is not finite ends the run as `diverged`; what raises
    otherwise is the caller's. `keep(tensor)` copies a tensor to where checkpoints are held.

    diary: where the run is written down, and goes on from what is written there.
    beat: the best run so far. Only a checkpoint that is better is copied; where that run's can be `rebuilt`, into the
    same memory.
    """
    feed, out, budget = Feed(loaded, prepared, protocol.batch_size, seed), Trained(lr), Budget.given(protocol)
    feed.batches_for(estimator)
    out.together = feed.batched
    now = partial(clock, loaded.device, exact=budget.of == "seconds")
    if diary is not None:
        diary.go_on(estimator, feed, out, budget, keep)
    while not budget.over:
        step = out.steps + 1
        _schedule(estimator, lr, budget.done, protocol)
        start, began = time.perf_counter(), now()
        try:
            loss = estimator.step(feed.objective())
        except Diverged as e:
            out.status, out.message = "diverged", f"at step {step}: {e}"
            break
        out.train_s += time.perf_counter() - start
        out.steps = step
        budget.spend(forwards=forwards_spent(estimator.forwards), seconds=now() - began)
        if watcher is not None:
            watcher.step(step, budget.expected_steps(step), lr, loss)
        due = budget.due(step)
        if due and not _checkpoint(estimator, loaded, prepared, out, keep=keep, watcher=watcher, beat=beat):
            break
        if diary is not None:
            diary.stepped(estimator, feed, out, budget, evaluated=due)
    out.took(estimator.timers.take())
    if out.first_wide is None:
        out.first_wide = next((step.step for step in estimator.log if step.wide), None)
    return out


def phase_times(taken: StepTimes) -> PhaseTimes:
    """The times of a step as a record has them."""
    return PhaseTimes(
        forward_s=taken.forward_s, perturb_s=taken.perturb_s, update_s=taken.update_s, step_s=taken.step_s
    )


def _schedule(estimator: Estimator, lr: float, done: float, protocol: ProtocolSettings) -> None:
    factor = 1.0 - done if protocol.lr_schedule == "linear" else 1.0
    for group in estimator.param_groups:
        group["lr"] = lr * factor


def _checkpoint(
    estimator: Estimator,
    loaded: LoadedModel,
    prepared: PreparedTask,
    out: Trained,
    *,
    keep: Callable[[Tensor], Tensor],
    watcher: Watcher | None,
    beat: Trained | None,
) -> bool:
    """Evaluate on dev and keep the weights where they are the best so far; False where the dev loss is not finite."""
    start = time.perf_counter()
    estimator.settle()
    seen = prepared.dev_loss(loaded.model)
    out.eval_forwards += seen.forwards
    out.eval_s += time.perf_counter() - start
    if not math.isfinite(seen.value):
        out.status, out.message = "diverged", f"at step {out.steps}: the dev loss is {seen.value}"
        return False
    out.curve.append((out.steps, seen.value))
    if watcher is not None:
        watcher.dev(out.steps, out.lr, seen.value)
    if out.best_loss is None or seen.value < out.best_loss:
        out.best_step, out.best_loss = out.steps, seen.value
        if beat is None or beat.best_loss is None or seen.value < beat.best_loss:
            if beat is not None and beat.rebuilt and not out.best:
                out.best, beat.best = beat.best, {}
            for handle in estimator.handles:
                _over(out.best, handle.name, handle.param.detach(), keep)
        else:
            out.best = {}  # which a run that went on may have of an earlier step
    return True


def _over(best: dict[str, Tensor], name: str, now: Tensor, keep: Callable[[Tensor], Tensor]) -> None:
    """Put a copy of a tensor among those of the best checkpoint, over the one that is there."""
    if name in best:
        best[name].copy_(now)
    else:
        best[name] = keep(now)
