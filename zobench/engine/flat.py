"""Engine `flat`: in place. Restore and update are one sweep; nothing is displaced between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..directions.algebra import ZERO, Direction
from ..directions.buffer import Buffer
from ..directions.handle import Handle
from ..directions.nodes import Plan
from ..directions.piecewise import uncomputed
from ..directions.together import runs, values_of
from .base import Closure, Engine, Group, Value, decay, plus
from .buffer_guard import BufferGuard
from .theta import Held

Act = Callable[[Handle, list[Value | None]], None]
ActTogether = Callable[[Sequence[Handle], list[Tensor]], None]


class Flat(Engine):
    """Each point is reached from the last in one sweep: w += (new - old). After the last look the weights stay
    displaced; the next move restores and updates in one sweep.

    restore="exact" (or precision="float32") holds theta of the scope outside (see Held), so that a point is
    theta + d, a restore is a copy, and nothing drifts. restore="arithmetic" adds and subtracts, as MeZO does.
    """

    name: ClassVar[str] = "flat"

    def __init__(self, restore: str = "exact", precision: str = "native") -> None:
        super().__init__("exact" if precision == "float32" else restore, precision)
        self.held = Held(precision == "float32") if self.restore == "exact" else None
        self.at = ZERO  # the parameters stand at theta + at ...
        self.pending = ZERO  # ... where this part of theta is still owed to them (engines that defer)
        self.stale = False  # what `at` is made of was changed: a look at the same expression is another
        self.stamps = BufferGuard()

    @property
    def at_rest(self) -> bool:
        return not self.at.terms and not self.pending.terms

    def attach(self, handles: Sequence[Handle]) -> None:
        super().attach(handles)
        if self.held is not None and not self.at.terms and not self.pending.terms:
            self.held.refresh(handles)

    def losses(self, closure: Closure | None, points: Sequence[Direction]) -> list[Tensor]:
        out: list[Tensor] = []
        if closure is None and self.held is not None:
            self.settle()  # exact: looking leaves no trace
            return out
        self.drawn.look(points)
        for x in points:
            with self.timers.part("perturb"):
                self.look(x)
            if closure is not None:
                with self.timers.part("forward"):
                    out.append(closure())
        return out

    def look(self, point: Direction) -> None:
        """Put the parameters at theta + point, in one sweep; pay what is pending."""
        self.stamps.check()
        change = point.plus(self.at, -1.0)
        if change.terms or self.pending.terms or self.stale:
            if self.held is None:
                change = change.plus(self.pending)
                self.sweep(lambda group: (change,), _add, _take_back, _add_together)
            else:
                self._show(point, self.held)
        self.at, self.pending, self.stale = point, ZERO, False
        self.stamps.take(point, self.handles)

    def _show(self, point: Direction, held: Held) -> None:
        directions = (point, self.pending) if self.pending.terms else (point,)

        def act(p: Handle, values: list[Value | None]) -> None:
            v, *owed = values
            for d in owed:
                if d is not None:
                    held.advance(p, d)
            held.show(p, v)

        def undo(p: Handle, values: list[Value | None]) -> None:
            for d in values[1:]:
                if d is not None:
                    held.advance(p, -d)

        try:
            self.sweep(lambda group: directions, act, undo, None if self.pending.terms else held.show_together)
        except BaseException:
            for p in self.handles:
                held.back(p)
            self.at = ZERO
            raise

    def settle(self) -> None:
        with self.timers.part("perturb"):
            self.look(ZERO)

    def abandon(self) -> None:
        self.stamps.clear()
        super().abandon()

    def before_write(self, buffer: Buffer) -> None:
        self.stamps.drop(buffer)
        if any(n is buffer for n in self.at.nodes()):
            if self.held is None:
                self.settle()
            else:
                self.stale = True

    def move(self, delta: Direction) -> None:
        with self.timers.part("update"):
            self.shift(lambda group: delta, decays=False)

    def descend(self, grad: Direction) -> None:
        decays = any(decay(p) for p in self.handles)
        with self.timers.part("update"):
            if decays and self.held is None:
                self.look(ZERO)  # the decay needs theta
            self.shift(lambda group: grad * -group["lr"], decays)

    def shift(self, delta: Callable[[Group], Direction], decays: bool) -> None:
        """Restore, and theta <- theta + delta(group) - lr * wd * theta if it decays: one sweep."""
        self.stamps.check()
        held, base = self.held, self.pending if self.held is not None else self.pending.plus(self.at, -1.0)

        def act(p: Handle, values: list[Value | None]) -> None:
            v, rate = values[0], float(p.group["lr"]) * decay(p) if decays else 0.0
            if rate and v is not None:
                v = (v if isinstance(v, Tensor) else v.drawn()) - rate * (p.raw if held is None else held.theta(p))
            if held is not None and v is None:
                held.back(p)
            elif v is not None:
                _add(p, [v]) if held is None else held.add(p, v)

        def undo(p: Handle, values: list[Value | None]) -> None:
            if values[0] is not None:
                _take_back(p, values) if held is None else held.take_back(p, -values[0])

        together = None if decays else _add_together if held is None else held.add_together
        self.sweep(lambda group: (delta(group).plus(base),), act, undo, together)
        if held is not None:
            held.rest()
        self.at = self.pending = ZERO
        self.stale = False
        self.stamps.clear()

    def sweep(
        self,
        directions: Callable[[Group], tuple[Direction, ...]],
        act: Act,
        undo: Act,
        together: ActTogether | None = None,
    ) -> None:
        """One pass over the scope: `act` on each tensor with the values of its group's directions there.

        together: does the same for several small tensors at once, of a sweep of one direction. If something fails in
        the middle, `undo` is called on the tensors that are done, and the error goes on.
        """
        self.sweeps += 1
        plans: dict[int, Plan] = {}
        sole: dict[int, Direction] = {}
        done: list[Handle] = []
        try:
            for run in (
                runs(self.handles, self.entries_together) if together is not None else ([p] for p in self.handles)
            ):
                group = run[0].group
                if id(group) not in plans:
                    of = directions(group)
                    plans[id(group)] = Plan(*of, drawn=self.drawn, fuse=uncomputed(self.drawn, sole=len(of) == 1))
                    sole[id(group)] = of[0] if len(of) == 1 else ZERO
                values = values_of(sole[id(group)], run, self.drawn) if len(run) > 1 else None
                if together is not None and values is not None:
                    together(run, values)
                    done += run
                    continue
                for p in run:
                    act(p, plans[id(group)].on(p))
                    done.append(p)
        except BaseException:
            for p in done:
                undo(p, plans[id(p.group)].on(p))
            raise

    def held_bytes(self) -> int:
        return super().held_bytes() + (0 if self.held is None else self.held.nbytes())

    def load_masters(self, handles: Sequence[Handle], masters: Mapping[str, Tensor]) -> None:
        if self.held is not None:
            self.held.load(handles, masters)


def _add(p: Handle, values: list[Value | None]) -> None:
    if values[0] is not None:
        plus(p, p.raw, values[0], p.raw)


def _add_together(run: Sequence[Handle], values: list[Tensor]) -> None:
    torch._foreach_add_([p.raw for p in run], values)


def _take_back(p: Handle, values: list[Value | None]) -> None:
    if values[0] is not None:
        plus(p, p.raw, -values[0], p.raw)
