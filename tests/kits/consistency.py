"""A task on a model against the plainest way to compute it: each row alone, unpadded, one bare call of the model.

Whatever a model does with padding, places of tokens, windows of attention or caches, the losses and choices of a run
must be those of its rows alone, or the model is refused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from zobench.errors import ZobenchError
from zobench.models.load import LoadedModel
from zobench.tasks.generate import stop_tokens
from zobench.tasks.kinds.generation import decoded
from zobench.tasks.prepared import PreparedTask
from zobench.tasks.rules import Rules
from zobench.tasks.sampling import Splits
from zobench.tasks.task import Task

FORMS = ("replicated", "shared", "auto")
RULES = Rules(max_length=512, max_new_tokens=6)


def consistency(loaded: LoadedModel, task: Task, splits: Splits, rules: Rules = RULES) -> dict[str, float]:
    """How far the task is from its rows alone, by what was looked at: "auto/8 dev" is the dev loss of rows=auto in
    batches of 8 (the absolute difference), "auto test" the share of test items that are answered otherwise.

    Anything but about 0 is a fault. ZobenchError where the model is refused.
    """
    made = {rows: PreparedTask(task, splits, loaded, rules, rows) for rows in FORMS}  # type: ignore[arg-type]
    answers = alone(loaded, made["replicated"])
    losses = {size: dev_loss(loaded, made["replicated"], size) for size in (8, 1)}
    out = {}
    for rows, prepared in made.items():
        for size in (8, 1):
            prepared.rules = dataclasses.replace(rules, eval_batch_size=size)
            got = prepared.dev_loss(loaded.model).value
            out[f"{rows}/{size} dev"] = abs(got - losses[size]) if math.isfinite(got) else math.inf
        prepared.rules = rules
        said = prepared.test_score(loaded.model).predictions
        out[f"{rows} test"] = sum(a != b for a, b in zip(said, answers, strict=True)) / len(answers)
    return out


def outcome(
    loaded: LoadedModel, task: Task, splits: Splits, rules: Rules = RULES
) -> tuple[str | None, dict[str, float]]:
    """(the line with which the model is refused, or None; the differences above 1e-5)."""
    try:
        found = consistency(loaded, task, splits, rules)
    except ZobenchError as e:
        assert "\n" not in str(e)
        return str(e), {}
    return None, {name: value for name, value in found.items() if not value <= 1e-5}


@torch.no_grad()
def alone(loaded: LoadedModel, prepared: PreparedTask) -> list[Any]:
    """The answers on test: candidates' indices, or the generated texts."""
    answers: list[Any] = []
    for encoded, _ in prepared._scored["test"]:
        if prepared.task.kind == "generation":
            answers.append(decoded(prepared.tokenizer, list(_generated(loaded, prepared, encoded.rows[0].ids))))
        else:
            scores = [score(loaded, row) for row in encoded.rows]
            answers.append(scores.index(max(scores)))
    return answers


@torch.no_grad()
def dev_loss(loaded: LoadedModel, prepared: PreparedTask, size: int) -> float:
    """The dev loss in batches of `size`: over which the tokens of options are pooled, where the loss pools them."""
    total, dev = 0.0, prepared._dev_train
    for start in range(0, len(dev), size):
        part = dev[start : start + size]
        if prepared.loss_name == "classification":
            scores = [torch.tensor([score(loaded, row) for row in e.rows]) for e in part]
            total += sum(
                F.cross_entropy(s[None], torch.tensor([e.gold])).item() for s, e in zip(scores, part, strict=True)
            )
        else:
            rows = [row for e in part for row in e.rows]
            pooled = sum(score(loaded, row) * row.option_len for row in rows) / sum(row.option_len for row in rows)
            total -= pooled * len(part)
    return total / len(dev)


def score(loaded: LoadedModel, row: Any) -> float:
    """The mean log-probability of a row's option."""
    ids = torch.tensor([row.ids], device=loaded.device)
    logits = loaded.model(input_ids=ids).logits[0].float()
    window = logits.log_softmax(-1)[-row.option_len - 1 : -1]
    return float(window.gather(1, ids[0, -row.option_len :, None]).mean())


def _generated(loaded: LoadedModel, prepared: PreparedTask, prompt: tuple[int, ...]) -> Iterator[int]:
    """Greedy decoding, the whole row at every step."""
    ids, stop = list(prompt), stop_tokens(loaded.tokenizer)
    for _ in range(min(prepared.rules.max_new_tokens, prepared.encoder.max_length - len(prompt))):
        token = int(loaded.model(input_ids=torch.tensor([ids], device=loaded.device)).logits[0, -1].argmax())
        yield token
        ids.append(token)
        if token in stop:
            return
