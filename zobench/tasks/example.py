"""One item of a task, rendered: its texts, and how they become rows. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class RowForm:
    """How the examples of a task kind become rows (zobench.tasks.encode).

    bare: they are scored from the prompt alone, beside which `max_new_tokens` are kept free for an answer; for training
    the answer follows as it is, spaces at its end included. headless: a text may stand without a prompt; of a tokenizer
    without a beginning of sequence its first token is then what the others follow.
    """

    bare: bool = False
    headless: bool = False


@dataclass(frozen=True)
class Example:
    """One rendered item.

    `texts`: prompt with answer, one a candidate (of a kind without candidates: one).
    `correct`: indices of the right candidates, the one that is trained on first (without candidates: empty).
    `golds`: the right answers as text. `sfc_prompt`, `sfc_texts`: the same without the item's content, for
    surface-form calibration; None where the task has none. `form`: how its kind makes rows of it.
    """

    prompt: str
    texts: tuple[str, ...]
    candidates: tuple[str, ...]
    correct: tuple[int, ...]
    golds: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)
    label: str = "an item"
    sfc_prompt: str | None = None
    sfc_texts: tuple[str, ...] | None = None
    form: RowForm = RowForm()

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
