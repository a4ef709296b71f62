"""The kinds of tasks, by the name that a task file gives as `kind`. A new one is a module here and an entry. Light."""

from __future__ import annotations

from collections.abc import Mapping

from .base import ItemScores, TaskKind
from .choice import Choice
from .generation import Generation
from .language_modelling import LanguageModelling

__all__ = ["KINDS", "METRICS", "ItemScores", "TaskKind"]

KINDS: Mapping[str, TaskKind] = {
    "classification": Choice(same_candidates=True),
    "multiple_choice": Choice(same_candidates=False),
    "generation": Generation(),
    "language_modelling": LanguageModelling(),
}
METRICS: tuple[str, ...] = tuple(dict.fromkeys(metric for kind in KINDS.values() for metric in kind.metrics))
"""All that a task file may name."""
