"""The speed-up of a cell, measured in the cell: its own method against full-scope MeZO in the official order.

Both run in one process on the same batches, in alternating blocks (A B A B), after a warm-up of each; what is compared
are medians. The baseline's forwards pass over the rows of all candidates, as MeZO's do. The learning rate is 0, so
every pass is made and nothing is learnt. On a CPU steps are timed by the process's own CPU time, which other programs
on the machine do not lengthen; on a GPU by wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import devices
from ..report.record import PhaseTimes, SpeedInfo
from .method import Applied, Method, applied
from .train import Feed, median_phases, phase_times

if TYPE_CHECKING:
    from torch import Tensor

    from ..engine.objective import Objective
    from ..estimator.estimator import Estimator
    from ..models.load import LoadedModel
    from ..protocol.protocol import Protocol
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask

BLOCK = 5
"""Steps of one side before the other has its turn."""


@dataclass(frozen=True)
class Sides:
    """The two methods to compare, each with its scope."""

    baseline: Method
    baseline_scope: Scope
    own: Method
    own_scope: Scope


def measure(
    sides: Sides,
    loaded: LoadedModel,
    prepared: PreparedTask,
    protocol: Protocol,
    *,
    seed: int,
    keep: Callable[[Tensor], Tensor],
) -> tuple[SpeedInfo, int]:
    """Median step times of both sides and their ratio, and the forward passes it took.

    A side is put on the model anew for each of its blocks, so that neither runs with the other's adapters or copies
    in place; the first step after that is not counted. One copy of the weights serves all blocks.
    """
    start = {name: keep(p.detach()) for name, p in sides.baseline_scope.named}
    steps, warmup = sides.own.computation.speed_steps, sides.own.computation.speed_warmup
    taken: dict[str, list[PhaseTimes]] = {"baseline": [], "own": []}
    forwards, turn = 0, 0
    looks = {"baseline": prepared.replicated(), "own": prepared}  # rows as MeZO has them, and as the cell had them
    feeds = {side: Feed(loaded, looks[side], protocol.batch_size, seed) for side in taken}
    while any(len(phases) < warmup + steps for phases in taken.values()):
        side = ("baseline", "own")[turn % 2]
        method, scope = (sides.baseline, sides.baseline_scope) if side == "baseline" else (sides.own, sides.own_scope)
        todo = min(BLOCK, warmup + steps - len(taken[side]))
        with applied(method, loaded, scope, lr=0.0, seed=seed, keep=keep, start=start) as on:
            on.estimator.timers.on, on.estimator.timers.clock = True, time.process_time
            feeds[side].batches_for(on.estimator)
            phases = _block(on, feeds[side], todo)
        taken[side] += phases
        forwards += sum(on.estimator.forwards.values())
        turn += 1
    baseline, own = (median_phases(taken[side][warmup:]) for side in ("baseline", "own"))
    assert baseline is not None and own is not None  # steps is at least 1 where this is called
    clock = "wall" if devices.beside(loaded.device) else "process"
    info = SpeedInfo(
        steps=steps, warmup=warmup, clock=clock, baseline=baseline, own=own, ratio=baseline["step_s"] / own["step_s"]
    )
    return info, forwards


def _block(on: Applied, feed: Feed, steps: int) -> list[PhaseTimes]:
    objectives = [feed.objective() for _ in range(steps + 1)]
    timed_step(on.estimator, objectives[0])
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
