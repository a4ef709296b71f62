"""V9: a method that counts, skips or repeats steps of its own fails, whatever door it takes."""

from __future__ import annotations

import pytest
from test_kit_bites import outcome
from zobench_plugins.estimators.mezo import MeZO

from zobench.testing import check_estimator


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
