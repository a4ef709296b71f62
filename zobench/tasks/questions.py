"""The contract of references that learn: from examples to a way of answering questions. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .encode import Encoded


@dataclass(frozen=True)
class Question:
    """An example without its answer, as token ids. There are no demonstrations, whatever the protocol says."""

    prompt: tuple[int, ...]
    """What stands before the candidates, cut as its first candidate's row is."""
    candidates: tuple[tuple[int, ...], ...]
    """The prompt with each candidate (generation: the prompt alone)."""

    @classmethod
    def of(cls, encoded: Encoded) -> Question:
        """The question that an encoded example asks."""
        first = encoded.rows[0]
        return cls(first.ids[: len(first.ids) - first.option_len], tuple(row.ids for row in encoded.rows))


Answers: TypeAlias = Callable[[Sequence[Question]], Sequence[int]]
"""The index of the chosen candidate of each question."""


class FitContext(Protocol):
    """What a reference may look at. There is no way from here to a test item, nor to the weights.

    Attributes:
        task: its name.
        kind: the name of its kind: classification (the same candidates for all), multiple_choice, ...
        train: examples to learn of, each a question with the index of its right candidate (of several the first; 0 for
            generation).
        dev: likewise, to choose on.
        batch_size: rows a forward pass that the protocol evaluates with.
    """

    task: str
    kind: str
    batch_size: int

    @property
    def train(self) -> Sequence[tuple[Question, int]]:
        """Training examples."""

    @property
    def dev(self) -> Sequence[tuple[Question, int]]:
        """Dev examples."""

    def forward(self, rows: Sequence[tuple[int, ...]], **options: Any) -> Any:
        """The model's output for rows of token ids, without gradients: one forward pass, which is counted.

        Rows are padded on the left, so that the last token of each is at -1. Logits are those of the last token where
        the model can leave out others. `options` go to the model, as `output_hidden_states=True`.
        """

    def note(self, **facts: Any) -> None:
        """Put facts that explain what was chosen into the record, under `selection`."""
