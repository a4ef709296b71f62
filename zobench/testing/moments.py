"""V4: mean and mean square of a method's step on a quadratic, against closed forms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..engine.objective import Objective
from ..estimator.estimator import Estimator
from ..scopes.scope import Scope
from .expect import expect
from .problems import Quadratic
from .reference_mezo import neutral_of

SAMPLES, FEW = 600, 100
"""Steps: against closed forms; where only their mean is asked to go downhill, or where V8 holds them to MeZO's bits."""
LR = 1e-3  # small: a method that compares losses before it goes must find a step of this size worth going


@dataclass(frozen=True)
class Moments:
    """What a method's gradient estimate g should have, on the `Quadratic` at its initial weights."""

    mean: Tensor
    """(47,): E[g]."""
    square: float | None = None
    """E|g|^2; None if there is no closed form."""


Expect: TypeAlias = Callable[[Quadratic, Mapping[str, Any]], Moments]
"""From the quadratic (at its initial weights) and the estimator's settings to the moments they imply."""


def gaussian(problem: Quadratic, settings: Mapping[str, Any] | None = None) -> Moments:
    """For g = (z . grad) z with z ~ N(0, I): mean grad, mean square (n + 2) |grad|^2."""
    grad = problem.gradient()
    return Moments(grad, (grad.numel() + 2) * float(grad @ grad))


def sample(cls: type[Estimator], settings: Mapping[str, Any], samples: int) -> Tensor:
    """(samples, 47): (theta - theta') / lr of single steps from the initial weights, in float64."""
    problem = Quadratic()
    start = {n: p.detach().clone() for n, p in problem.named_parameters()}
    flat = problem.flat().detach()
    opt = cls(Scope(problem.named_parameters()), lr=LR, engine="pair", **settings)
    objective = Objective(
        problem,
        lambda forward, _: forward(),
        None,
        itertools.repeat(None),
        batched=False,
        examples=lambda _: [None] * 3,
    )
    rows = []
    for _ in range(samples):
        opt.settle()
        with torch.no_grad():
            for n, p in problem.named_parameters():
                p.copy_(start[n])
        opt.step(objective)
        opt.settle()
        rows.append((flat - problem.flat().detach()) / LR)
    return torch.stack(rows)


def check_moments(cls: type[Estimator], settings: Mapping[str, Any], moments: Expect | None) -> str:
    """V4. Without `moments`, a class with neutral settings is checked at those; any other must go downhill.

    At neutral settings by few samples, as V8 holds single steps to MeZO's: what is left is where this problem differs.

    Bounds: 5 standard errors for the mean along the expected one and for the mean square; the whole mean by its
    squared distance, which is 1 in units of its expectation, at most 2.
    """
    neutral, samples = neutral_of(cls), SAMPLES
    if moments is None and neutral is not None:
        moments, settings, samples = gaussian, {**settings, **neutral}, FEW
    if moments is None:
        return _downhill(sample(cls, settings, FEW))
    g = sample(cls, settings, samples)
    want = moments(Quadratic(), settings)
    off = g.mean(0) - want.mean
    spread = float(g.var(0).sum()) / len(g)
    expect(spread > 0, "every step is the same: nothing is random")
    ratio = float(off @ off) / spread
    along = g @ (want.mean / want.mean.norm())
    z = float((along.mean() - want.mean.norm()) / (along.std() / len(g) ** 0.5))
    slope = float(along.mean() / want.mean.norm())
    expect(abs(z) < 5 and ratio < 2, f"E[g] is {slope:.3f} times what it should be along it ({z:+.1f} standard errors)")
    if want.square is None:
        return f"mean {z:+.1f} se"
    squares = g.square().sum(1)
    z2 = float((squares.mean() - want.square) / (squares.std() / len(g) ** 0.5))
    found = f"{float(squares.mean()):.4g}"
    expect(abs(z2) < 5, f"E|g|^2 is {found}, closed form {want.square:.4g} ({z2:+.1f} standard errors)")
    return f"mean {z:+.1f} se, square {z2:+.1f} se"


def _downhill(g: Tensor) -> str:
    grad = Quadratic().gradient()
    along = g @ (grad / grad.norm())
    expect(bool(along.isfinite().all()), "a step is not finite")
    if float(along.std()) == 0:
        expect(float(along.mean()) > 0, "the step goes uphill")
        return "no closed form declared; always the same step, downhill"
    z = float(along.mean() / (along.std() / len(g) ** 0.5))
    expect(z > 3, f"the mean step does not go downhill ({z:+.1f} standard errors)")
    return f"no closed form declared; downhill by {z:.0f} standard errors"
