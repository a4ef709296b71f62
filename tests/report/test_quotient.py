"""Fieller's interval of a quotient, where it has ends and where it has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from zobench.report.stats.quotient import quotient


def effect(mean: float, half: float) -> Any:
    return SimpleNamespace(mean=mean, half=lambda: half)


def test_an_interval_ends_where_the_difference_is_told_apart():
    found = quotient(lambda r: effect(3.0 - 2.0 * r, 1.0), effect(2.0, 0.5))
    assert found == pytest.approx((1.5, 1.0, 2.0), abs=2e-4)


def test_one_that_goes_on_is_cut_off_a_thousand_from_its_middle():
    assert quotient(lambda r: effect(3.0 - 2.0 * r, 1e9), effect(2.0, 0.5)) == (1.5, -998.5, 1001.5)
    just = quotient(lambda r: effect(3.0 - 2.0 * r, abs(3.0 - 2.0 * r)), effect(2.0, 0.5))
    assert just == (1.5, -998.5, 1001.5), "what may just be 0 may be 0"


@pytest.mark.parametrize(("mean", "half"), [(0.0, 0.0), (1.0, 1.0), (-1.0, 2.0)])
def test_over_what_may_be_0_there_is_none(mean: float, half: float):
    assert quotient(lambda r: effect(1.0, 0.1), effect(mean, half)) is None
