"""What an estimator or a selector takes, measured in the checks' small worlds: for cards of those that say nothing."""

from __future__ import annotations

from dataclasses import dataclass

from ..contracts.selector import Selector
from ..estimator.estimator import Estimator
from .attempt import Case

STEPS = 4
BLOCKS = 4
"""Decoder blocks of the model that selectors are measured in (planted.LAYERS)."""


@dataclass(frozen=True)
class Taken:
    """Of one step, on average: forwards of its batch and of further ones; and bytes of state a float32 parameter."""

    forwards: float
    extra: float
    state: float


def estimator(cls: type[Estimator]) -> Taken:
    """A few steps of the class at its default settings (and those it needs) on a small MLP. Raises what it does."""
    attempt = Case(cls, dict(cls.needs), "flat", "mlp").attempt()
    attempt.go(STEPS)
    opt, parameters = attempt.opt, sum(p.numel() for _, p in attempt.scope.named)
    return Taken(
        forwards=opt.forwards.get("train", 0) / STEPS,
        extra=opt.forwards.get("extra", 0) / STEPS,
        state=opt.state_bytes() / 2 / parameters,  # the problem is float64
    )


def selector(cls: type[Selector]) -> int:
    """The forwards of one selection in a LLaMA of `planted.LAYERS` blocks, with its `exercise`. Raises what it does."""
    from .selectors import SelectorCase

    return SelectorCase(cls, dict(cls.exercise)).trial.seen.forwards
