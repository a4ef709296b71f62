"""Checks for people who write estimators: `check_estimator(MyEstimator)` in a test is enough.

    from zobench.testing import check_estimator

    def test_my_zo():
        check_estimator(MyZO)

It trains small float64 problems with the estimator on every engine and raises AssertionError with a readable account
of what is wrong; see `check_estimator`.
"""

from __future__ import annotations

from .kit import check_estimator
from .moments import Moments, gaussian
from .problems import Problem, Quadratic, llama, mlp
from .report import Finding, Report

__all__ = [
    "Finding",
    "Moments",
    "Problem",
    "Quadratic",
    "Report",
    "check_estimator",
    "gaussian",
    "llama",
    "mlp",
]
