"""The speed-up of a cell, measured in the cell: its own method against full-scope MeZO in the official order.

Both run in one process on the same batches, in alternating blocks (A B A B), after a warm-up of each; what is
compared are medians. Cells of one task in one process share the baseline's: the first measures it, and each later one
runs one block of it again among its own, which must take as long (`AGREES`); else that cell measures both anew. The
baseline's forwards pass over the rows of all candidates, as MeZO's do. The learning rate is too small to move a
weight, so every pass is made and nothing is learnt. On a CPU steps are timed by the process's own CPU time, which
other programs on the machine do not lengthen; on a GPU by wall time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .. import devices
from ..report.record import PhaseTimes, SpeedInfo
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
"""Steps of one side before the other has its turn."""
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
    def skipped(self) -> int:
        """The first of its steps that a later cell runs again: of its second block, where it has two whole ones."""
        return BLOCK if len(self.steps) >= 2 * BLOCK else 0

    def agrees(self, again: list[PhaseTimes]) -> bool:
        """Whether these steps, the same as then, took about as long."""
        then = statistics.median(self.steps[self.skipped : self.skipped + BLOCK])
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


def _turns(taken: Mapping[str, Sequence[object]], wanted: Mapping[str, int], *, own_first: bool) -> Iterator[str]:
    """The two sides by turns, and the one alone that lacks steps when the other has all."""
    turn = int(own_first)
    while left := [side for side in taken if len(taken[side]) < wanted[side]]:
        yield ("baseline", "own")[turn % 2] if len(left) == 2 else left[0]
        turn += 1


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

    A side is put on the model anew for each of its blocks, so that neither runs with the other's adapters or copies
    in place; the first step after that is not counted. One copy of the weights serves all blocks.

    known: the baseline's times of an earlier cell, whose batches are used; its forward passes are counted there, and
    here the block that is run again. cell: the id of this one.
    """
    start = {name: keep(p.detach()) for name, p in sides.baseline_scope.named}
    steps, warmup = sides.own.computation.speed_steps, sides.own.computation.speed_warmup
    taken: dict[str, list[PhaseTimes]] = {"baseline": [], "own": []}
    wanted = {side: warmup + steps for side in taken} | (
        {} if known is None else {"baseline": min(BLOCK, warmup + steps)}
    )
    forwards = {side: 0 for side in taken}
    looks = {"baseline": prepared.replicated(), "own": prepared}  # rows as MeZO has them, and as the cell had them
    order = seed if known is None else known.seed
    feeds = {side: Feed(loaded, looks[side], protocol.batch_size, order) for side in taken}
    if known is not None and known.skipped:
        _ = [feeds["baseline"].objective() for _ in range(known.skipped + 1)]
    for side in _turns(taken, wanted, own_first=known is not None):
        method, scope = sides.of(side)
        todo = min(BLOCK, wanted[side] - len(taken[side]))
        with applied(method, loaded, scope, lr=STILL, seed=seed, keep=keep, start=start) as on:
            on.estimator.timers.on, on.estimator.timers.clock = True, time.process_time
            feeds[side].batches_for(on.estimator)
            phases = _block(on, feeds[side], todo)
        taken[side] += phases
        forwards[side] += sum(on.estimator.forwards.values())
    own, there = median_phases(taken["own"][warmup:]), median_phases(taken["baseline"][warmup:])
    if known is None:
        assert there is not None  # steps is at least 1 where this is called
        seconds = tuple(one["step_s"] for one in taken["baseline"])
        baseline = Baseline(cell, seed, seconds, there)
    elif known.agrees(taken["baseline"]):
        baseline = known
    else:
        anew = measure(sides, loaded, prepared, protocol, seed=seed, keep=keep, cell=cell)
        return replace(anew, forwards=anew.forwards + sum(forwards.values()))
    assert own is not None
    clock = "wall" if devices.beside(loaded.device) else "process"
    ratio = baseline.phases["step_s"] / own["step_s"]
    info = SpeedInfo(steps=steps, warmup=warmup, clock=clock, baseline=baseline.phases, own=own, ratio=ratio)
    if known is not None:
        info["baseline_of"] = known.cell
    return SpeedMeasurement(info, sum(forwards.values()), baseline)


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
