"""V9: a method that counts, skips or repeats steps of its own fails, whatever door it takes."""

from __future__ import annotations

import pytest
import torch
from test_kit_bites import outcome
from zobench_plugins.estimators.mezo import MeZO

from zobench.testing import Moments, check_estimator
from zobench.testing import moments as of_steps
from zobench.testing.expect import Failed
from zobench.testing.problems import Quadratic


class Skips(MeZO):
    """Counts once more, by the back door: every second seed is skipped."""

    def iterate(self, losses):
        vars(self)["t"] += 1
        return super().iterate(losses)


class StandsStill(MeZO):
    def iterate(self, losses):
        shown = super().iterate(losses)
        vars(self)["t"] = 0
        return shown


class OwnRate(MeZO):
    def iterate(self, losses):
        for group in self.param_groups:
            group["lr"] *= 0.5
        return super().iterate(losses)


class ForgetsTheLog(MeZO):
    def iterate(self, losses):
        self.log.clear()
        return super().iterate(losses)


class TicksAsTheGuideNeverSaid(MeZO):
    def setup(self):
        self.t = 0

    def iterate(self, losses):
        self.t += 1
        return super().iterate(losses)


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (MeZO, "pass"),
        (Skips, "in step 0 the method's t was 1"),
        (StandsStill, "in step 1 the method's t was 0"),
        (OwnRate, "the method replaced param_groups, which the core keeps"),
        (ForgetsTheLog, "after step 1 the log holds 1 steps"),
    ],
)
@pytest.mark.parametrize("engine", ["flat", "pair"])
def test_v9(cls, says, engine):
    assert says in outcome("V9 steps", cls, engine)


def test_one_that_counts_by_itself_fails_everything_and_says_why():
    with pytest.raises(AssertionError, match=r"AttributeError: TicksAsTheGuideNeverSaid: self.t is zobench's own"):
        check_estimator(TicksAsTheGuideNeverSaid, engines=["flat"], problems=["mlp"])


def along(parts, aside=()):
    """Steps with these parts along the gradient, of unit length, and these along one that is orthogonal to it."""
    grad = Quadratic().gradient()
    first = grad / grad.norm()
    other = torch.zeros_like(first)
    other[:2] = torch.stack([-first[1], first[0]])
    aside = torch.tensor(aside or [0.0] * len(parts), dtype=first.dtype)
    return torch.outer(torch.tensor(parts, dtype=first.dtype), first) + torch.outer(aside, other / other.norm())


@pytest.mark.parametrize(
    ("parts", "said", "sound"),
    [
        ([2.0, 4.0, 2.0, 4.0], "downhill by 5 standard errors", True),  # 3 / (1.155 / 2)
        ([1.0, 3.0, 1.0, 5.0], r"does not go downhill \(\+2.6 standard errors\)", False),  # 2.5 / (1.915 / 2)
        ([-2.0, -4.0, -2.0, -4.0], r"does not go downhill \(-5.2 standard errors\)", False),
        ([1.0, 1.0, 1.0], "always the same step, downhill", True),
        ([-1.0, -1.0, -1.0], "the step goes uphill", False),
        ([0.0, 0.0, 0.0], "the step goes uphill", False),
        ([1.0, float("inf")], "a step is not finite", False),
    ],
)
def test_downhill_is_by_more_than_three_standard_errors(parts, said, sound):
    if sound:
        assert said in of_steps._downhill(along(parts))
    else:
        with pytest.raises(Failed, match=said):
            of_steps._downhill(along(parts))


@pytest.mark.parametrize(
    ("off", "square", "said"),
    [
        (0.4, None, "mean +4.0 se"),
        (-0.4, None, "mean -4.0 se"),
        (0.6, None, r"E\[g\] is .* times what it should be along it \(\+6.0 standard errors\)"),
        (0.0, 0.0, "mean +0.0 se, square +0.0 se"),
        (0.0, 0.8, "square -4.0 se"),
        (0.0, 1.2, r"E\|g\|\^2 is .*, closed form"),
    ],
)
def test_moments_are_held_by_their_standard_errors(monkeypatch, off, square, said):
    """100 steps: parts of 1 on both sides of the mean, whose error is 0.1, and much that lies aside."""
    size = float(Quadratic().gradient().norm())
    steps = along([size + off + sign for sign in (1, -1) * 50], [9.0 * sign for sign in (1, 1, -1, -1) * 25])
    mean_square = float(steps.square().sum(1).mean())
    monkeypatch.setattr(of_steps, "sample", lambda cls, settings, samples: steps)
    expected = Moments(Quadratic().gradient(), None if square is None else mean_square + square * size)
    if said.endswith(" se"):
        assert said in of_steps.check_moments(MeZO, {}, lambda *_: expected)
    else:
        with pytest.raises(Failed, match=said):
            of_steps.check_moments(MeZO, {}, lambda *_: expected)
