"""Means and spreads; the same for any order of their values. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """The mean; the same for any order."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The standard deviation with n - 1; None for fewer than two values."""
    if len(values) < 2:
        return None
    m = mean(values)
    return math.sqrt(math.fsum((v - m) ** 2 for v in values) / (len(values) - 1))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values."""
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))
