"""Tasks without an answer: how likely a text is to the model, after a prompt or by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..example import Example, RowForm
from .base import ItemScores, TaskKind, Values

if TYPE_CHECKING:
    from ...models.forward import Forward
    from ..score import Item, Progress
    from .handed import Prepared, TaskFile


class LanguageModelling(TaskKind):
    """The mean log-probability of a text's tokens, in nats; exp(-log_prob) is the text's perplexity.

    Rows: the text, blanks at its ends left out, of which everything after the prompt counts. Without a prompt that is
    every token after the beginning of sequence, or after the first token where the tokenizer has none. Loss: the
    cross-entropy of the tokens that count, pooled over the batch, as a language model is trained in transformers. A
    text that a row has no room for is refused, not cut.
    """

    keys = frozenset()
    metrics = ("log_prob",)
    losses = ("option", "lm")
    form = RowForm(headless=True)

    def render(self, task: TaskFile, item: Values, label: str) -> Example:
        prompt = task.fill("prompt", item, label).strip()
        text = task.fill("text", {**item, "prompt": prompt}, label).strip()
        return Example(prompt, (text,), (), (), (), item, f"task {task.name}: {label}", form=self.form)

    def lines(self, example: Example) -> list[str]:
        return [f"  text: {example.added(0)!r}"]

    def score(
        self, prepared: Prepared, forward: Forward, scored: Sequence[Item], progress: Progress | None
    ) -> ItemScores:
        scorer = prepared.scorer(forward)
        items = [score for (score,) in scorer.every(scored, progress)]
        return ItemScores(items, [], scorer.forwards)
