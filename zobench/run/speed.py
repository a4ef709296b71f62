"""The speed-up of a cell, measured in the cell: its own method against full-scope MeZO in the official order.

Both run in one process on the same batches, by turns (A B A B), after a warm-up of each; what is compared are medians.
It ends when the ratio is known well enough (`SURE`), at the latest after `speed_steps` of each. Cells of one task in
one process share the baseline's: the first measures it, and each later one runs one turn of it again among its own,
which must take as long (`AGREES`); else that cell measures both anew. The baseline's forwards pass over the rows of all
candidates, as MeZO's do. The learning rate is too small to move a weight, so every pass is made and nothing is learnt.
On a CPU steps are timed by the process's own CPU time, which other programs on the machine do not lengthen; on a GPU by
wall time.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .. import devices
from ..report.record import PhaseTimes, SpeedInfo
from ..report.stats.student import t_quantile
from .method import Applied, Method, applied
from .train import Feed, median_phases, phase_times

if TYPE_CHECKING:
    from ..engine.objective import Objective
    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..protocol.cell import Cell
    from ..protocol.protocol import Protocol
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from .train import Keep

BLOCK = 5
"""Steps of one side, at most, before the other has its turn; and counted steps of each after which it is asked whether
they are enough."""
SURE = 0.1
"""They are, when the 95 % interval of the ratio ends within this share of it."""
STILL = 1e-20
"""The learning rate: no weight but a 0 moves by it, and yet the move is computed, as it would not be at 0."""
AGREES = 0.1
"""How far the median of one block of the baseline may be from that of an earlier cell, as a share of it."""


@dataclass(frozen=True)
class Sides:
    """The two methods to compare, each with its scope."""

    baseline: Method
    baseline_scope: Scope
    own: Method
    own_scope: Scope

    def of(self, side: str) -> tuple[Method, Scope]:
        """`baseline` or `own`."""
        return (self.baseline, self.baseline_scope) if side == "baseline" else (self.own, self.own_scope)


@dataclass(frozen=True)
class Baseline:
    """What an earlier cell of the task measured: its id, the seed of its batches, its steps' seconds, medians."""

    cell: str
    seed: int
    steps: tuple[float, ...]
    phases: PhaseTimes

    @property
    def again(self) -> slice:
        """The steps that a later cell runs again: the second turn's, where that has enough for a median."""
        return slice(BLOCK, 2 * BLOCK) if len(self.steps) >= BLOCK + 3 else slice(0, BLOCK)

    def agrees(self, again: Sequence[PhaseTimes]) -> bool:
        """Whether these steps, the same as then, took about as long."""
        then = statistics.median(self.steps[self.again])
        return abs(statistics.median(one["step_s"] for one in again) / then - 1.0) <= AGREES


@dataclass(frozen=True)
class SpeedMeasurement:
    """A measurement: for the record, the forward passes that were made for it, and the baseline for later cells."""

    info: SpeedInfo
    forwards: int
    baseline: Baseline


def of_cell(
    baselines: dict[Any, Baseline], cell: Cell, sides: Sides, loaded: LoadedModel, prepared: PreparedTask, keep: Keep
) -> SpeedMeasurement:
    """The speed-up of a cell, by the baseline of an earlier cell of its task in this process where there is one.

    baselines: those of earlier cells, to which this one's is added.
    """
    key = (cell.task, cell.protocol, sides.baseline.computation)
    made = measure(
        sides,
        loaded,
        prepared,
        cell.protocol,
        seed=cell.seed,
        keep=keep,
        known=baselines.get(key),
        cell=cell.id,
    )
    baselines[key] = made.baseline
    return made


@dataclass
class _Taken:
    """What one side has run so far: its batches, the phases of its steps, the forward passes that they took."""

    feed: Feed
    wanted: int
    warmup: int
    steps: list[PhaseTimes] = field(default_factory=list)
    forwards: int = 0

    @property
    def counted(self) -> list[PhaseTimes]:
        return self.steps[self.warmup :]

    @property
    def seconds(self) -> list[float]:
        """Of the counted ones."""
        return [one["step_s"] for one in self.counted]

    @property
    def enough(self) -> bool:
        """Whether they may be all: a block of them, and of two turns."""
        return len(self.counted) >= BLOCK and len(self.counted) > BLOCK - self.warmup % BLOCK

    @property
    def todo(self) -> int:
        """Steps of its next turn, which ends at the latest where its counted steps are some more whole blocks."""
        whole = BLOCK - (len(self.steps) - self.warmup) % BLOCK
        return min(BLOCK, self.wanted - len(self.steps), whole if len(self.steps) >= BLOCK else BLOCK)


def _turns(baseline: _Taken, own: _Taken, *, alone: bool) -> Iterator[str]:
    """The sides by turns, until each has all steps that are wanted of it or the ratio is known well enough.

    alone: the baseline is known; its one turn follows the first of the own side.
    """
    order = {"own": own, "baseline": baseline} if alone else {"baseline": baseline, "own": own}
    while any(side.todo for side in order.values()):
        yield from (name for name, side in order.items() if side.todo)
        if not alone and own.enough and share_of_ratio(baseline.seconds, own.seconds) <= SURE:
            return


def share_of_ratio(baseline: Sequence[float], own: Sequence[float]) -> float:
    """By which share of it the 95 % interval of a ratio of step times ends above it; infinite for fewer than 2 pairs,
    and where the clock is too coarse to time a step.

    By the t distribution of the logarithms of the ratios of paired steps: those of the same batch.
    """
    if len(own) < 2 or not min(*baseline, *own) > 0:
        return math.inf
    logs = [math.log(there / here) for there, here in zip(baseline, own, strict=True)]
    return math.expm1(t_quantile(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs)))


def measure(
    sides: Sides,
    loaded: LoadedModel,
    prepared: PreparedTask,
    protocol: Protocol,
    *,
    seed: int,
    keep: Keep,
    known: Baseline | None = None,
    cell: str = "",
) -> SpeedMeasurement:
    """Median step times of both sides and their ratio.

    A side is put on the model anew for each of its turns, so that neither runs with the other's adapters or copies
    in place; the first step after that is not counted. One copy of the weights serves all turns.

    known: the baseline's times of an earlier cell, whose batches are used, as many as it has; its forward passes are
    counted there, and here the turn that is run again. cell: the id of this one.
    """
    start = {name: keep(p.detach()) for name, p in sides.baseline_scope.named}
    computed, order = sides.own.computation, seed if known is None else known.seed
    warmup, wanted = computed.speed_warmup, computed.speed_warmup + computed.speed_steps
    there = _Taken(Feed(loaded, prepared.replicated(), protocol.batch_size, order), wanted, warmup)  # as MeZO has rows
    own = _Taken(Feed(loaded, prepared, protocol.batch_size, order), wanted, warmup)
    if known is not None:
        own.wanted = len(known.steps)
        there.wanted, there.warmup = len(known.steps[known.again]), 0
        _ = [there.feed.objective() for _ in range(known.again.start + bool(known.again.start))]
    for name in _turns(there, own, alone=known is not None):
        side, (method, scope) = there if name == "baseline" else own, sides.of(name)
        with applied(method, loaded, scope, lr=STILL, seed=seed, keep=keep, start=start) as on:
            on.estimator.timers.on, on.estimator.timers.clock = True, time.process_time
            side.feed.batches_for(on.estimator)
            side.steps += _block(on, side.feed, side.todo)
            side.forwards += sum(on.estimator.forwards.values())
    forwards = own.forwards + there.forwards
    if known is None:
        phases = median_phases(there.counted)
        assert phases is not None  # speed_steps is at least 1 where this is called
        known_now = Baseline(cell, seed, tuple(one["step_s"] for one in there.steps), phases)
    elif known.agrees(there.steps):
        known_now = known
    else:
        anew = measure(sides, loaded, prepared, protocol, seed=seed, keep=keep, cell=cell)
        return replace(anew, forwards=anew.forwards + forwards)
    info = _info(known_now, own, "wall" if devices.beside(loaded.device) else "process")
    if known is not None:
        info["baseline_of"] = known.cell
    return SpeedMeasurement(info, forwards, known_now)


def _info(baseline: Baseline, own: _Taken, clock: str) -> SpeedInfo:
    phases = median_phases(own.counted)
    assert phases is not None
    ratio = baseline.phases["step_s"] / phases["step_s"]
    info = SpeedInfo(
        steps=len(own.counted), warmup=own.warmup, clock=clock, baseline=baseline.phases, own=phases, ratio=ratio
    )
    share = share_of_ratio(baseline.steps[own.warmup :], own.seconds)
    if math.isfinite(share):
        info["interval"] = [ratio / (1 + share), ratio * (1 + share)]
    return info


def _block(on: Applied, feed: Feed, steps: int) -> list[PhaseTimes]:
    objectives = [feed.objective() for _ in range(steps + 1)]
    timed_step(on.estimator, objectives[0])
    if feed.prepared.graphs is not None:  # those of a new place of weights are captured before a step is timed
        _ = [timed_step(on.estimator, objective) for objective in objectives[1:]]
    return [timed_step(on.estimator, objective) for objective in objectives[1:]]


def timed_step(estimator: Estimator, objective: Objective) -> PhaseTimes:
    """One step with its phases; `step_s` is process time on a CPU, wall time between synchronisations on a GPU."""
    there = devices.of_model(objective.model)
    clock = time.perf_counter if devices.beside(there[0]) else time.process_time
    devices.synchronize(there)
    start = clock()
    estimator.step(objective)
    devices.synchronize(there)
    taken = clock() - start
    times = phase_times(estimator.timers.last)
    times["step_s"] = taken
    return times
