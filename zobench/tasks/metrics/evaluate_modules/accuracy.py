"""Share of items whose chosen candidate is one of the right ones. For the `evaluate` library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from zobench.tasks.metrics import mean
from zobench.tasks.metrics.accuracy import accuracy


class Accuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """compute(predictions, references) -> {"accuracy": float}; a reference is the list of right answers."""

    def _info(self) -> Any:
        features = {"predictions": datasets.Value("int64"), "references": datasets.Sequence(datasets.Value("int64"))}
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=type(self).__doc__ or "",
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[Sequence[int]]) -> dict[str, float]:
        return {"accuracy": mean([accuracy(p, r) for p, r in zip(predictions, references, strict=True)])}
