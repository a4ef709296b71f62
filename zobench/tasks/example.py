"""One item of a task, rendered: its texts, and how they become rows. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RowForm:
    """How the examples of a task kind become rows (zobench.tasks.encode)."""

    bare: bool = False
    """They are scored from the prompt alone, beside which `max_new_tokens` are kept free for an answer; for training
    the answer follows as it is, spaces at its end included."""
    headless: bool = False
    """A text may stand without a prompt; of a tokenizer without a beginning of sequence its first token is then what
    the others follow."""


@dataclass(frozen=True)
class Example:
    """One rendered item."""

    prompt: str
    texts: tuple[str, ...]
    """Prompt with answer, one a candidate (of a kind without candidates: one)."""
    candidates: tuple[str, ...]
    correct: tuple[int, ...]
    """Indices of the right candidates, the one that is trained on first (without candidates: empty)."""
    golds: tuple[str, ...]
    """The right answers as text."""
    data: Mapping[str, Any] = field(repr=False)
    label: str = "an item"
    sfc_prompt: str | None = None
    """The prompt without the item's content, for surface-form calibration; None where the task has none."""
    sfc_texts: tuple[str, ...] | None = None
    """The texts without the item's content, likewise."""
    form: RowForm = RowForm()
    """How its kind makes rows of it."""

    @property
    def gold(self) -> int | None:
        """Index of the candidate that is trained on; None where there are no candidates."""
        return self.correct[0] if self.correct else None

    @property
    def gold_text(self) -> str:
        """The prompt with the right answer (the first, where several are accepted)."""
        return self.texts[self.correct[0] if self.correct else 0]

    def added(self, number: int) -> str:
        """What a text adds to its prompt; the whole text where it does not begin with the prompt."""
        return self.texts[number].removeprefix(self.prompt)
