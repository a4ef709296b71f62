"""The checks on methods that differentiate in forward mode, and on those that compare losses before they go."""

from __future__ import annotations

from typing import ClassVar

import pytest
from zobench_plugins.estimators.forward_grad import ForwardGrad
from zobench_plugins.estimators.zo_sgd_conservative import ZOSGDConservative

from zobench.testing.attempt import Case
from zobench.testing.checks import CHECKS
from zobench.testing.expect import Failed, NotApplicable
from zobench.testing.memory import check_memory
from zobench.testing.moments import check_moments


class TakenForOne(ForwardGrad):
    forwards_per_step: ClassVar[int | None] = 1


class Timid(ZOSGDConservative):
    """Compares, and stays."""

    def iterate(self, losses):
        z = self.noise()
        l0, ahead = losses(0, self.descent(z))
        self.descend(0.0 * z)
        return l0 + 0 * ahead


def test_a_pass_with_a_tangent_counts_as_two_forwards():
    assert CHECKS["V5 forwards"](Case(ForwardGrad, {}, "flat", "mlp")) == "2 a step"
    with pytest.raises(Failed, match="2 forwards a step, forwards_per_step says 1"):
        CHECKS["V5 forwards"](Case(TakenForOne, {}, "flat", "mlp"))


def test_a_dense_tangent_is_no_fault():
    with pytest.raises(NotApplicable, match="tangents of activations"):
        check_memory(ForwardGrad, {})


def test_v4_steps_are_small_enough_to_be_taken():
    """On this quadratic a step of lr 1 is worse than none."""
    assert "downhill" in check_moments(ZOSGDConservative, {}, None)
    with pytest.raises(Failed, match="goes uphill"):
        check_moments(Timid, {}, None)
