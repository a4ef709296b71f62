"""Share of answers that equal an accepted one, after the normalisation of SQuAD. For the `evaluate` library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from zobench.tasks.metrics import mean
from zobench.tasks.metrics.em import em


class ExactMatch(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """compute(predictions, references) -> {"em": float}; a reference is the list of right answers."""

    def _info(self) -> Any:
        features = {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
        return evaluate.MetricInfo(
            description=__doc__ or "",
            citation="",
            inputs_description=type(self).__doc__ or "",
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
        return {"em": mean([em(p, r) for p, r in zip(predictions, references, strict=True)])}
