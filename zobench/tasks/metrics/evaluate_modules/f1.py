"""Mean token F1 against the best accepted answer, with the normalisation of SQuAD. For the `evaluate` library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from zobench.tasks.metrics import mean
from zobench.tasks.metrics.f1 import f1


class F1(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """compute(predictions, references) -> {"f1": float}; a reference is the list of right answers."""

    def _info(self) -> Any:
        features = {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=type(self).__doc__ or "",
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return {"f1": mean([f1(p, r) for p, r in zip(predictions, references, strict=True)])}
