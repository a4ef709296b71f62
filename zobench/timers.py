"""Where the seconds of a step go: forward, perturb, update. Off unless asked; no wait for the device in the step.

Parts may nest: the time of an inner part is its own. On a GPU the marks are events of its own stream, whatever device
is the current one; they are read when they are done, and used again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from .devices import GPUS, mark, record

Part: TypeAlias = Literal["forward", "perturb", "update"]


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one step. `step_s` is from its start to its end; what is in no part is Python and bookkeeping."""

    forward_s: float
    perturb_s: float
    update_s: float
    step_s: float


class Timers:
    """Times the parts of each step while `on` is True. Times of steps are kept until `take`.

    clock: what a CPU is timed by, wall time unless it is set.
    """

    def __init__(self, device: torch.device) -> None:
        self.on = False
        self.clock: Callable[[], float] = time.perf_counter
        self.device = device
        self._events = device.type in GPUS
        self._open: list[Part] = []
        self._marks: list[tuple[Part | None, Any]] = []
        self._waiting: list[list[tuple[Part | None, Any]]] = []  # steps whose events may not be done
        self._spare: list[Any] = []  # events that were read
        self._steps: list[StepTimes] = []
        self._last = StepTimes(0.0, 0.0, 0.0, 0.0)

    def start_step(self) -> None:
        """A step begins."""
        self._marks, self._open = [], []
        self._mark(None)

    def end_step(self) -> None:
        """A step is over."""
        if self.on and self._marks:
            self._mark(None)
            self._waiting.append(self._marks)
            self._read()
        self._marks = []

    @contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """What runs inside belongs to this part."""
        if not self.on:
            yield
            return
        self._open.append(name)
        self._mark(name)
        try:
            yield
        finally:
            self._open.pop()
            self._mark(self._open[-1] if self._open else None)

    def take(self) -> list[StepTimes]:
        """The times of all steps since the last call (waits for the device)."""
        self._read(wait=True)
        steps, self._steps = self._steps, []
        return steps

    @property
    def last(self) -> StepTimes:
        """The times of the last step (waits for the device); zeros if none was timed."""
        self._read(wait=True)
        return self._last

    @property
    def forward_s(self) -> float:
        """Seconds of the last step in forwards."""
        return self.last.forward_s

    @property
    def perturb_s(self) -> float:
        """Seconds of the last step in displacing and restoring weights."""
        return self.last.perturb_s

    @property
    def update_s(self) -> float:
        """Seconds of the last step in moving weights and updating state."""
        return self.last.update_s

    def _mark(self, name: Part | None) -> None:
        if not self.on:
            return
        if not self._events:
            self._marks.append((name, self.clock()))
            return
        event = self._spare.pop() if self._spare else mark(self.device)
        record(event, self.device)
        self._marks.append((name, event))

    def _read(self, *, wait: bool = False) -> None:
        """The times of the steps that are done; of all where it may wait for the device."""
        if wait and self._waiting and self._events:
            self._waiting[-1][-1][1].synchronize()
        while self._waiting and (not self._events or wait or self._waiting[0][-1][1].query()):
            marks = self._waiting.pop(0)
            self._last = self._times(marks)
            self._steps.append(self._last)
            if self._events:
                self._spare += [event for _, event in marks]

    def _between(self, a: Any, b: Any) -> float:
        return float(a.elapsed_time(b)) / 1e3 if self._events else float(b - a)

    def _times(self, marks: list[tuple[Part | None, Any]]) -> StepTimes:
        parts = {"forward": 0.0, "perturb": 0.0, "update": 0.0}
        for (name, start), (_, end) in zip(marks, marks[1:], strict=False):
            if name is not None:
                parts[name] += self._between(start, end)
        return StepTimes(parts["forward"], parts["perturb"], parts["update"], self._between(marks[0][1], marks[-1][1]))
