"""What the modules of this folder share. Only they import it, as a module: evaluate takes the first class it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import datasets
import evaluate

from zobench.tasks.metrics import mean


class MeanOverItems(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """compute(predictions, references) -> {key: float}; a reference is the list of right answers."""

    key: ClassVar[str]
    """The metric's name."""
    dtype: ClassVar[str]
    """Of predictions and answers: `int64` (a candidate's index) or `string`."""
    of_item: ClassVar[Callable[..., float]]
    """(prediction, right answers) -> the score of one item; a staticmethod."""

    def _info(self) -> Any:
        answer = datasets.Value(self.dtype)
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description=MeanOverItems.__doc__ or "",
            features=datasets.Features({"predictions": answer, "references": datasets.Sequence(answer)}),
        )

    def _compute(self, predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> dict[str, float]:
        return {self.key: mean([self.of_item(p, r) for p, r in zip(predictions, references, strict=True)])}
