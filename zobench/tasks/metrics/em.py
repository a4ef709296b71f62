"""Exact match of an answer, after SQuAD's normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from .f1 import normalise


def em(prediction: str, golds: Sequence[str]) -> float:
    """1.0 if the normalised answer equals a normalised accepted one, else 0.0."""
    return float(any(normalise(prediction) == normalise(gold) for gold in golds))
