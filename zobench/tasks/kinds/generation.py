"""Tasks whose answer is free text, which the model generates greedily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..example import Example, RowForm
from ..metrics import TEXT_METRICS
from ..parts import parts
from .base import ItemScores, TaskKind, Values

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.forward import Call, Forward
    from ..batch import Batch
    from ..encode import Encoded, Encoder
    from ..rules import Rules
    from ..score import Item, Progress
    from .handed import Prepared, TaskFile

OF_GENERATION = 16
"""Times as many tokens of prompts at once as are scored at once: most forwards are over one token a row."""


class Generation(TaskKind):
    """A generated answer against those that are accepted.

    Rows: the prompt with the first accepted answer for training, the prompt alone for scoring and the `non_diff` loss.
    Score: F1 or exact match of the answer. The answer ends at a line break (`PreparedTask.stop`) or when there is no
    more room.
    """

    keys = frozenset({"answer"})
    metrics = ("f1", "em")
    losses = ("option", "lm", "non_diff")
    form = RowForm(bare=True)

    def kept_free(self, rules: Rules) -> int:
        return rules.max_new_tokens

    def render(self, task: TaskFile, item: Values, label: str) -> Example:
        prompt = task.fill("prompt", item, label)
        golds = task.strings(task.value("answer", item, label), "answer", label)
        text = task.fill("text", {**item, "prompt": prompt, "candidate": golds[0]}, label)
        return Example(prompt, (text,), (), (), golds, item, f"task {task.name}: {label}", form=self.form)

    def lines(self, example: Example) -> list[str]:
        accepted = ", ".join(repr(g) for g in example.golds)
        return [f"  accepted answers: {accepted}", f"  trained on: {example.added(0)!r}"]

    def shown_rows(self, encoder: Encoder, example: Example) -> list[tuple[str, Encoded]]:
        return [*super().shown_rows(encoder, example), ("trained on", encoder.encode(example, training=True))]

    def training_rows(self, encoder: Encoder, example: Example, loss_name: str) -> Encoded:
        return encoder.encode(example, training=loss_name != "non_diff", only_gold=True)

    def loss(self, prepared: Prepared, forward: Forward, batch: Batch) -> Tensor:
        if prepared.loss_name == "non_diff":
            return _non_diff(prepared, forward, batch)[0]
        return super().loss(prepared, forward, batch)

    def dev_loss(self, prepared: Prepared, call: Call, batch: Batch) -> tuple[Tensor, int]:
        if prepared.loss_name == "non_diff":
            return _non_diff(prepared, prepared.forward.through(call), batch)
        return super().dev_loss(prepared, call, batch)

    def score(
        self, prepared: Prepared, forward: Forward, scored: Sequence[Item], progress: Progress | None
    ) -> ItemScores:
        from ..generate import answers

        made, forwards = answers(
            forward,
            [encoded.rows[0].ids for encoded, _ in scored],
            room=lambda length: room(prepared, length),
            stop=prepared.stop,
            pad_id=prepared.pad_id,
            device=prepared.device,
            together=prepared.together,
            tokens=OF_GENERATION * prepared.tokens_together,
            progress=progress,
            spread=prepared.spread,
        )
        said = [decoded(prepared.tokenizer, ids) for ids in made]
        items = [_value(prepared, text, encoded.golds) for text, (encoded, _) in zip(said, scored, strict=True)]
        return ItemScores(items, [*said], forwards)

    def scoring_forwards(self, prepared: Prepared, scored: Sequence[Item]) -> int:
        """At most: an answer may stop early."""
        lengths = sorted((len(encoded.rows[0].ids) for encoded, _ in scored), reverse=True)
        batches = parts(lengths, prepared.together or 1, OF_GENERATION * prepared.tokens_together)
        return len(batches) * prepared.rules.max_new_tokens

    def notes(self, prepared: Prepared) -> dict[str, str]:
        if prepared.says_newline:
            return {}
        return {"newline": "the tokenizer cannot say a line break: only its end of sequence ends an answer"}


def room(prepared: Prepared, length: int) -> int:
    """The tokens that may follow a prompt of `length` tokens."""
    return min(prepared.rules.max_new_tokens, prepared.encoder.max_length - length)


def decoded(tokenizer: Any, ids: list[int] | None) -> str | None:
    """Generated ids as an answer; None stays None."""
    return None if ids is None else str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _value(prepared: Prepared, answer: str | None, golds: Sequence[str]) -> float:
    return math.nan if answer is None else TEXT_METRICS[prepared.task.metric](answer, golds)


def _non_diff(prepared: Prepared, forward: Forward, batch: Batch) -> tuple[Tensor, int]:
    """Minus the mean metric (float32) of greedily generated answers, and the forward passes (MeZO, section 3.3).

    Not for points side by side: what is generated decides what is looked at next.
    """
    import torch

    from ..generate import greedy

    ids = batch.input_ids
    made, forwards = greedy(forward, ids, batch.attention_mask, limit=room(prepared, ids.shape[1]), stop=prepared.stop)
    said = [decoded(prepared.tokenizer, row) for row in made]
    values = [_value(prepared, text, golds) for text, golds in zip(said, batch.golds, strict=True)]
    return torch.tensor(-math.fsum(values) / len(values), dtype=torch.float32, device=ids.device), forwards
