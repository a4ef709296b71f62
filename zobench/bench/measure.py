"""Interleaved steps: every side has its turn of a few steps, round after round, on the same batches.

After a warm-up the medians and quartiles of a step's phases are taken. On a CPU a step is timed by the process's own
CPU time, which other programs do not lengthen; on a GPU by wall time between synchronisations, its phases by events.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..models.graphs import Graphs
from ..report.record import PhaseTimes
from ..run.memory import PeakMemory
from ..run.speed import BLOCK, timed_step
from .sides import Side, Timing, filled_cache, objective, standing

if TYPE_CHECKING:
    from ..tasks.prefix import PrefixCache
    from .work import Work

PHASES = ("forward_s", "perturb_s", "update_s", "step_s")


@dataclass
class Timed:
    """What was measured of one side: seconds by step and phase, and what stood beside them."""

    side: Side
    engine: str = ""
    phases: list[PhaseTimes] = field(default_factory=list)
    peak_bytes: int = 0
    held_bytes: int = 0
    numel: int = 0
    sweeps: float = 0.0
    """Passes over the scope's weights a step."""
    forwards: float = 0.0
    """Passes of the model over a batch a step."""
    cache: PrefixCache | None = None
    fill_s: float = 0.0
    """Seconds to fill the cache with all batches once; not part of any step."""
    graphs: Graphs | None = None
    """What losses are replayed from."""
    capture_s: float = 0.0
    """Seconds to take a step on each batch before, in which graphs of all their shapes are captured."""

    @property
    def first_block(self) -> int:
        """The block at which forwards begin."""
        return 0 if self.cache is None else self.cache.at

    def median(self, phase: str) -> float:
        """The median of a phase, in seconds."""
        return statistics.median(self._seconds(phase))

    def iqr(self, phase: str) -> float:
        """The distance of the quartiles of a phase, in seconds; 0 of one step."""
        values = self._seconds(phase)
        if len(values) < 2:
            return 0.0
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        return high - low

    def _seconds(self, phase: str) -> list[float]:
        return [one[phase] for one in self.phases]  # type: ignore[literal-required]


def measure(
    sides: Sequence[Side],
    work: Work,
    timing: Timing,
    *,
    steps: int,
    warmup: int,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Timed]:
    """`steps` timed steps of every side, after `warmup` of each.

    A side is put on the model anew for each of its turns, so that none runs with another's copies in place; its first
    step after that is not counted. Prefix caches are filled before the first turn. Peak memory is that of the turns
    after the warm-up.
    """
    taken = [Timed(side) for side in sides]
    for one in taken:
        one.cache, one.fill_s = filled_cache(one.side, work, timing)
        if one.side.graphs:
            one.graphs = Graphs(timing.loaded.model, timing.loaded.device)
            progress(f"{work.task}: {one.side.name}, capturing")
            start = time.perf_counter()
            with standing(one.side, timing) as (method, one.engine):
                for batch in work.few:
                    timed_step(method, objective(one.side, work, timing.loaded, batch, one.cache, one.graphs))
            one.capture_s = time.perf_counter() - start
    done = 0
    while done < warmup + steps:
        turn = min(BLOCK, warmup - done if done < warmup else warmup + steps - done)
        for one in taken:
            progress(f"{work.task}: {one.side.name}, step {done} of {warmup + steps}")
            _turn(one, work, timing, done, turn, counts=done >= warmup)
        done += turn
    return taken


def _turn(one: Timed, work: Work, timing: Timing, first: int, steps: int, *, counts: bool) -> None:
    loaded = timing.loaded
    given = work.few if one.side.graphs else work.batches
    batches = [given[i % len(given)] for i in range(first, first + steps)]
    memory = PeakMemory(loaded.devices)
    with standing(one.side, timing) as (method, one.engine):
        timed_step(method, objective(one.side, work, loaded, batches[0], one.cache, one.graphs))
        before, looked = method.engine.sweeps, method.forwards.total()
        phases = [
            timed_step(method, objective(one.side, work, loaded, batch, one.cache, one.graphs)) for batch in batches
        ]
        one.numel = sum(handle.param.numel() for handle in method.handles)
        one.sweeps = (method.engine.sweeps - before) / steps
        one.forwards = (method.forwards.total() - looked) / steps
        one.held_bytes = max(one.held_bytes, method.engine.held_bytes())
    if counts:
        one.phases += phases
        one.peak_bytes = max(one.peak_bytes, memory.peak())
