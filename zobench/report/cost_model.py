"""The paper's cost model of a step (Dominant-Layer ZO, appendix B, equations 3 to 11), fitted to what was measured.

A step with q directions over a scope of |S| parameters takes T(S) = q (2 F + gamma |S|) seconds (eq. 3, 4): F is one
forward of the whole model, which depends on the task, and gamma the cost of perturbing and updating a parameter, which
does not. So full over layer is (2 F + gamma P_full) / (2 F + gamma P_layer) (eq. 11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Fit:
    """The cost model's two kinds of constants, fitted."""

    gamma: float
    """Seconds a parameter."""
    forward_s: Mapping[str, float]
    """Seconds of one forward, by task."""

    def step(self, task: str, parameters: int) -> float:
        """Seconds of a step over this many parameters (eq. 3)."""
        return 2 * self.forward_s[task] + self.gamma * parameters

    def ratio(self, task: str, full: int, layer: int) -> float:
        """How many times as long a step over the full scope takes (eq. 11)."""
        return self.step(task, full) / self.step(task, layer)


def fit(seconds: Mapping[str, Mapping[int, float]]) -> Fit:
    """Least squares over all tasks together.

    seconds: by task, the seconds of a step by the number of parameters in its scope. Raises ValueError where no task
    has two scopes.
    """
    above = below = 0.0
    for steps in seconds.values():
        size, time = (sum(v) / len(v) for v in (list(steps), list(steps.values())))
        above += sum((n - size) * (t - time) for n, t in steps.items())
        below += sum((n - size) ** 2 for n in steps)
    if not below:
        raise ValueError("the cost model needs steps over two scopes")
    gamma = above / below
    forward = {task: sum(t - gamma * n for n, t in steps.items()) / len(steps) / 2 for task, steps in seconds.items()}
    return Fit(gamma, forward)
