"""Tasks with candidates: the answer is the one that the model finds likeliest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import ZobenchError
from ..example import Example
from ..metrics import accuracy
from .base import ItemScores, TaskKind, Values

if TYPE_CHECKING:
    from ...models.forward import Forward
    from ..encode import Encoded, Encoder
    from ..rules import Rules
    from ..score import Item, Progress
    from .handed import Prepared, TaskFile


class Choice(TaskKind):
    """Classification, where all items have the same candidates, and multiple choice.

    Rows: one a candidate, or with the option loss that of the right one alone. Score: the accuracy of the candidate of
    the largest mean log-probability, or of the largest calibrated one (rules.scoring).
    """

    keys = frozenset({"answer", "candidates"})
    metrics = ("accuracy",)
    losses = ("classification", "option", "lm")

    def __init__(self, *, same_candidates: bool) -> None:
        self.same_candidates = same_candidates

    def check_rules(self, rules: Rules, task: TaskFile) -> None:
        super().check_rules(rules, task)
        if rules.scoring != "mean" and task.sfc is None:
            raise ZobenchError(f"task {task.name}: the task has no [sfc] calibration texts; use scoring=mean")

    def render(self, task: TaskFile, item: Values, label: str) -> Example:
        prompt, answer = task.fill("prompt", item, label), task.value("answer", item, label)
        candidates = task.candidates_of(item, label)
        correct = _correct(task, answer, candidates, label)
        texts = tuple(task.fill("text", {**item, "prompt": prompt, "candidate": c}, label) for c in candidates)
        sfc_prompt, sfc_texts = _calibration(task, item, candidates, label)
        golds = tuple(candidates[c] for c in correct)
        where = f"task {task.name}: {label}"
        return Example(prompt, texts, candidates, correct, golds, item, where, sfc_prompt, sfc_texts, self.form)

    def lines(self, example: Example) -> list[str]:
        right = ["  <- right" if n in example.correct else "" for n in range(len(example.texts))]
        return [f"  option {n}: {example.added(n)!r}{mark}" for n, mark in enumerate(right)]

    def training_rows(self, encoder: Encoder, example: Example, loss_name: str) -> Encoded:
        return encoder.encode(example, training=True, only_gold=loss_name != "classification")

    def scoring_rows(self, encoder: Encoder, rules: Rules, example: Example, shown: Sequence[Example]) -> Item:
        sfc = None
        if rules.scoring != "mean":
            before = shown if rules.scoring == "icl_sfc" else ()
            sfc = encoder.encode(example, demonstrations=before, sfc=True)
        return encoder.encode(example, demonstrations=shown), sfc

    def score(
        self, prepared: Prepared, forward: Forward, scored: Sequence[Item], progress: Progress | None
    ) -> ItemScores:
        scorer = prepared.scorer(forward)
        chosen = scorer.choices(scored, progress)
        items = [
            math.nan if c is None else accuracy(c, encoded.correct)
            for c, (encoded, _) in zip(chosen, scored, strict=True)
        ]
        return ItemScores(items, [*chosen], scorer.forwards)


def _correct(task: TaskFile, answer: Any, candidates: tuple[str, ...], label: str) -> tuple[int, ...]:
    """Indices of the right candidates: an index as it is, a text by its first place among the candidates."""
    if isinstance(answer, bool) or not isinstance(answer, int | str | list | tuple):
        raise ZobenchError(f"task {task.name}: template.answer: {label}: {answer!r} is no index, text or list of texts")
    if isinstance(answer, int):
        if not 0 <= answer < len(candidates):
            raise ZobenchError(
                f"task {task.name}: {label}: the answer {answer} is none of {len(candidates)} candidates"
            )
        return (answer,)
    found = []
    for text in (answer,) if isinstance(answer, str) else task.strings(answer, "answer", label):
        if text not in candidates:
            raise ZobenchError(f"task {task.name}: {label}: the answer {text!r} is not among the candidates")
        found.append(candidates.index(text))
    return tuple(found)


def _calibration(
    task: TaskFile, item: Values, candidates: tuple[str, ...], label: str
) -> tuple[str | None, tuple[str, ...] | None]:
    """Prompt and texts without the item's content; None for a task that has none."""
    if task.sfc is None:
        return None, None
    prompt = task.fill("sfc.prompt", item, label)
    values = ({**item, "prompt": prompt, "candidate": c} for c in candidates)
    return prompt, tuple(task.fill("sfc.text", v, label) for v in values)
