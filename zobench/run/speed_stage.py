"""The last stage of a cell: its speed-up, whose failure leaves the scores as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import out_of_memory
from ..estimator.vocabulary import Diverged
from ..plugins import declared
from .method import Method, free_of, kept
from .outcome import Outcome
from .selection import everything
from .speed import Sides, of_cell
from .unchanged import Guard

if TYPE_CHECKING:
    from ..estimator.estimator import Estimator
    from ..protocol.cell import Cell
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask
    from .memory import PeakMemory
    from .session import Session


@dataclass(frozen=True)
class SpeedStage:
    """Measures a method that was trained beside the baseline. `tell` says what is being done."""

    session: Session
    cell: Cell
    out: Outcome
    guard: Guard
    memory: PeakMemory
    tell: Callable[[str], None]

    def run(self, method: Method, scope: Scope, prepared: PreparedTask) -> None:
        """Measure the method on its scope, and enter what came of it into the record."""
        loaded, account, notes = self.session.loaded, self.out.account, self.out.fields["data"]["notes"]
        if account is not None and not account.speed_fits:  # training fits; the scores shall not fail of it
            notes["speed"] = account.speed_left_out()
            return
        self.tell("measuring the speed-up")
        sides = Sides(
            baseline=Method.official(self._baseline(), self.cell.computation),
            baseline_scope=everything(loaded),
            own=method,
            own_scope=scope,
        )
        self.out.memory["peak_bytes"] = self.memory.peak()  # what the baseline takes is none of the method's
        self.memory.again()
        keep = kept(
            on_device=2 * self.out.memory["weights_bytes"] < free_of(loaded)
        )  # one copy, and as much for a step
        try:
            with self.guard.watching(f"measuring the speed of estimator {self.cell.estimator}"):
                made = of_cell(self.session.baselines, self.cell, sides, loaded, prepared, keep)
        except Exception as e:  # the scores stand where only this measurement has failed, of either side
            if not isinstance(e, Diverged) and not out_of_memory(e):
                raise
            notes["speed"] = f"not measured: {e if isinstance(e, Diverged) else 'memory ran out'}"
            return
        self.out.fields["speed"] = made.info
        self.out.forwards["speed"] += made.forwards

    def _baseline(self) -> type[Estimator]:
        """The estimator whose step in the official order over the full scope every speed-up is relative to."""
        plugins = self.session.plugins
        return plugins.estimator(declared.one(plugins, "baseline", "--set speed_steps=0 (no speed-up)"))
