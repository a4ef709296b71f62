"""How long a run trains: for a number of steps, or for as many forwards or seconds as every method is given."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..devices import beside, synchronize
from ..report.record import OF_A_BACKWARD

if TYPE_CHECKING:
    from ..protocol.protocol import Protocol


def forwards_spent(counted: Counter[str]) -> int:
    """Forward passes over a batch that training took so far, those on extra batches included. A backward pass counts as
    OF_A_BACKWARD.
    """
    return counted["train"] + counted["extra"] + OF_A_BACKWARD * counted["backward"]


def clock(device: torch.device, *, exact: bool) -> float:
    """Seconds: on a CPU the process's own, which other programs on the machine do not lengthen.

    exact: wait for what a GPU still has to do.
    """
    if not beside(device):
        return time.process_time()
    if exact:
        synchronize([device])
    return time.perf_counter()


@dataclass
class Budget:
    """What may be spent on training, and what was spent.

    A step begins as long as it fits: with a budget of forward passes, if it would fit taking as many as the step
    before; with seconds, if any are left. The first step is always made.
    """

    of: str
    """`steps`, `forwards` or `seconds`."""
    total: float
    steps: int
    eval_every: int
    """As in the protocol, for a run of `steps` steps: dev is evaluated after every so many. With another budget dev is
    evaluated as often, at equal parts of it and at its end.
    """
    spent: float = 0.0
    last: float = 0.0
    looked: int = 0

    @classmethod
    def given(cls, protocol: Protocol) -> Budget:
        """The protocol's: `train_forwards` or `train_seconds` where one is set, else `steps`."""
        for of, total in (("forwards", protocol.train_forwards), ("seconds", protocol.train_seconds)):
            if total:
                return cls(of, float(total), protocol.steps, protocol.eval_every)
        return cls("steps", float(protocol.steps), protocol.steps, protocol.eval_every)

    @property
    def done(self) -> float:
        """The fraction that is spent."""
        return self.spent / self.total

    @property
    def over(self) -> bool:
        """Whether the budget allows no further step."""
        return self.spent + (self.last if self.of == "forwards" else 0.0) > self.total or self.spent >= self.total

    def spend(self, *, forwards: int, seconds: float) -> None:
        """Account for a step. `forwards`: of the run so far; `seconds`: of this step."""
        before = self.spent
        self.spent = {"steps": before + 1, "forwards": float(forwards), "seconds": before + seconds}[self.of]
        self.last = self.spent - before

    def expected_steps(self, step: int) -> int:
        """How many steps there will be, if they go on like those so far."""
        return step if self.over else max(step + 1, round(step / self.done))

    def due(self, step: int) -> bool:
        """Whether dev is evaluated after this step. To be called once a step."""
        if self.of == "steps":
            return step % self.eval_every == 0
        times = self.steps // self.eval_every
        reached = times if self.over else math.floor(self.done * times)
        before, self.looked = self.looked, max(self.looked, reached)
        return self.looked > before
