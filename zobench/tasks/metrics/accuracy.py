"""Accuracy of a chosen candidate."""

from __future__ import annotations

from collections.abc import Collection


def accuracy(prediction: int, correct: Collection[int]) -> float:
    """1.0 if the chosen candidate is one of the right ones (several in ReCoRD), else 0.0."""
    return float(prediction in correct)
