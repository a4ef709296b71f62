"""Metrics: of one item, as pure functions, and of a split, with an error bar. Light.

The harness uses `accuracy`, `f1` and `em`. `as_evaluate_metric(name)` gives the same metric as one of the `evaluate`
library, which is imported only then (it takes seconds).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ZobenchError, library, unknown
from .accuracy import accuracy
from .em import em
from .f1 import f1, normalise

__all__ = ["TEXT_METRICS", "accuracy", "as_evaluate_metric", "em", "f1", "mean", "normalise", "standard_error"]

TEXT_METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {"f1": f1, "em": em}
"""Metrics of a generated answer against the accepted ones."""
NAMES = ("accuracy", *TEXT_METRICS)


def mean(items: Sequence[float]) -> float:
    """The mean, rounded once; NaN if an item is NaN. Raises ZobenchError for no items."""
    if not items:
        raise ZobenchError("no items to score")
    return math.fsum(items) / len(items)


def standard_error(metric: str, items: Sequence[float]) -> float:
    """Of the mean: binomial, sqrt(p (1 - p) / n), for accuracy; sample deviation over sqrt(n) else (0 for one item)."""
    p, n = mean(items), len(items)
    if metric == "accuracy":
        return math.sqrt(max(p * (1 - p), 0.0) / n) if p == p else p
    return math.sqrt(math.fsum((x - p) ** 2 for x in items) / (n - 1) / n) if n > 1 else 0.0


def as_evaluate_metric(name: str) -> Any:
    """The metric as an `evaluate.Metric`, loaded from this package without a connection.

    Raises ZobenchError for an unknown name, and where `evaluate` is not installed.
    """
    if name not in NAMES:
        raise ZobenchError(unknown("metric", name, NAMES))
    evaluate = library("evaluate", "an evaluate metric")
    return evaluate.load(str(Path(__file__).parent / "evaluate_modules" / f"{name}.py"))
