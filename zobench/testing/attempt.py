"""One estimator on one problem with one engine, set up so that the same attempt twice is the same run."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..estimator.estimator import Estimator
from ..parameterisations import attach
from ..scopes.scope import Scope
from .problems import Problem, Rotating, half_masks, llama, mlp

PROBLEMS: Mapping[str, Callable[[], Problem]] = {"mlp": mlp, "llama": llama}


@cache
def _template(name: str) -> Problem:
    return PROBLEMS[name]()


def fresh(name: str) -> Problem:
    """A new copy of a named problem, at its initial weights."""
    problem = copy.copy(_template(name))
    problem.model = copy.deepcopy(problem.model)
    return problem


def everything(problem: Problem) -> Scope:
    """All parameters."""
    return Scope(problem.named())


def one_layer(problem: Problem) -> Scope:
    """The second layer of the MLP, the second decoder block of the LLaMA."""
    return Scope([(n, p) for n, p in problem.named() if "layers.1." in n])


def masked(problem: Problem) -> Scope:
    """All parameters, about half of the entries of each."""
    return Scope(problem.named(), masks=half_masks(problem.named()))


def rotating(problem: Problem) -> Scope:
    """A schedule: of the layers one at a time."""
    return Rotating(problem.named(), layers=2)


SCOPES: Mapping[str, Callable[[Problem], Scope]] = {
    "full": everything,
    "layer": one_layer,
    "masked": masked,
    "rotating": rotating,
}


STEPS = {"mlp": 7, "llama": 3}
"""Steps of a run: with `exercise` settings, enough to pass a refresh after an interruption between two."""
EARLY = 2
"""Steps of a run after which its state is what it will be."""


@dataclass(eq=False)
class Case:
    """What is checked: an estimator with its settings, an engine, a problem."""

    cls: type[Estimator]
    settings: Mapping[str, Any]
    engine: str
    problem: str
    _done: dict[str, Attempt] = field(default_factory=dict, repr=False)
    _disturbed: tuple[Attempt, bool] | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """Steps of a whole run on this problem."""
        return STEPS[self.problem]

    def run(self, scope: str = "full") -> Attempt:
        """A whole run over that scope, settled at its end; the same one at every call, not to be taken further."""
        if scope not in self._done:
            attempt = self.attempt(scope)
            attempt.go(EARLY)
            attempt.early_bytes = attempt.opt.state_bytes()
            attempt.go(self.steps - EARLY)
            attempt.opt.settle()
            self._done[scope] = attempt
        return self._done[scope]

    def disturbed(self) -> tuple[Attempt, bool]:
        """A second whole run, with other global random streams at each step; and whether a step drew from torch's.

        The same one at every call, not to be taken further. The streams are put back.
        """
        if self._disturbed is None:
            attempt, drew = self.attempt(), False
            kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
            try:
                for step in range(self.steps):
                    torch.manual_seed(step)
                    np.random.seed(step)
                    random.seed(step)
                    before = torch.get_rng_state()
                    attempt.go(1)
                    drew = drew or not torch.equal(before, torch.get_rng_state())
            finally:
                torch.set_rng_state(kept[0])
                np.random.set_state(kept[1])
                random.setstate(kept[2])
            self._disturbed = attempt, drew
        return self._disturbed

    def attempt(self, scope: str = "full", **settings: Any) -> Attempt:
        """A new run over the scope of that name (see SCOPES); `settings` replace some of the case's."""
        return Attempt(self, scope, {**self.settings, **settings})


class Attempt:
    """A run in progress. `weights()` settles the engine; `start` are the weights it began with.

    early_bytes: of its state after `EARLY` steps, of a whole run.
    """

    early_bytes = 0

    def __init__(self, case: Case, scope: str, settings: Mapping[str, Any], cls: type[Estimator] | None = None) -> None:
        cls = cls or case.cls
        self.problem = fresh(case.problem)
        self.scope = SCOPES[scope](self.problem)
        if case.problem == "llama" and cls.parameterisation != "full" and scope != "masked":
            self.scope = attach(cls.parameterisation, self.problem.model, self.scope, settings=settings).scope
        self.start = self.problem.weights()
        self.opt = cls(self.scope, lr=self.problem.lr, engine=case.engine, **settings)

    def go(self, steps: int) -> list[float]:
        """So many steps on; the losses that step() returned."""
        return [float(self.opt.step(self.problem.objective(self.opt.t))) for _ in range(steps)]

    def weights(self) -> dict[str, Tensor]:
        """A copy of every parameter at theta."""
        self.opt.settle()
        return self.problem.weights()

    def checkpoint(self) -> bytes:
        """Weights and state through torch.save."""
        file = io.BytesIO()
        torch.save({"state": self.opt.state_dict(), "weights": self.weights()}, file)
        return file.getvalue()

    def resume(self, saved: bytes) -> None:
        """Load what `checkpoint` wrote, with weights_only=True: state must be plain tensors and values."""
        loaded = torch.load(io.BytesIO(saved), weights_only=True)
        with torch.no_grad():
            for name, p in self.problem.named():
                p.copy_(loaded["weights"][name])
        self.opt.load_state_dict(loaded["state"])


def distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """The largest difference of an entry; nan if any entry is."""
    return max(float((a[n] - b[n]).abs().max()) for n in a)


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    """Whether the two have the same names and bits."""
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)
