"""How a task is encoded, trained on and scored: the switches that are fixed for a whole table. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import ZobenchError
from ..settings import Count, Natural

if TYPE_CHECKING:
    from .task import Task

TrainLossRule = Literal["task", "classification", "option", "lm", "non_diff"]
RowsRule = Literal["auto", "packed", "shared", "replicated"]
"""Whether forwards pass over what an example's rows have in common once, or over every row; packed: once, and training
and dev rows stand side by side, so that there is little padding; auto: packed, where the model can keep them apart,
else shared.
"""


@dataclass(frozen=True)
class Rules:
    """The defaults are MeZO's.

    loss_dtype: in which dtype log-probabilities are taken, in training, on dev and in scoring. "model" is MeZO's: in
        float16 a loss is then a multiple of its ulp (0.001 between 1 and 2) and equal scores are common (the first
        candidate wins). "float32" converts the logits first.
    train_loss: "task" is the task's own; see zobench.tasks.loss for each.
    pad_targets: "keep": a token of an answer counts in the training loss whatever its id is; padding is what the mask
        says. "drop": MeZO's, which leaves out those that have the id `config.pad_token_id`; the same wherever no answer
        has that token, so with every tokenizer that has one of its own to pad with.
    scoring: "mean" log-probability of the option's tokens, or "sfc": sum minus the sum without the item's content
        (Holtzman et al. 2021); with demonstrations "icl_sfc" keeps them before the calibration text.
    eval_batch_size: examples in a batch of the dev loss. score_batch_size: rows scored together; 1, as in MeZO, needs
        no padding; more is faster and differs in rounding. Shared rows are scored in batches of the larger of the two.
    demonstrations: training items shown before every item that is scored (0: none); "fixed" shows the first ones of
        the training split to all, "per_item" draws them anew from the training pool for each.
    logits: "option" asks the model for logits at answer positions only, where it can; "all" is MeZO's, which also sums
        over whole rows: the same up to rounding, and with the official engine and noise bit for bit.
    """

    max_length: Count = 2048
    max_new_tokens: Count = 50
    loss_dtype: Literal["model", "float32"] = "model"
    train_loss: TrainLossRule = "task"
    pad_targets: Literal["keep", "drop"] = "keep"
    scoring: Literal["mean", "sfc", "icl_sfc"] = "mean"
    eval_batch_size: Count = 8
    score_batch_size: Count = 1
    pad_to_multiple_of: Count = 8
    demonstrations: Natural = 0
    demonstration_sets: Literal["fixed", "per_item"] = "fixed"
    logits: Literal["option", "all"] = "option"

    def loss_of(self, task: Task) -> str:
        """The training loss that holds: the task's own, unless the rules name one."""
        return task.train_loss if self.train_loss == "task" else self.train_loss

    def check(self, task: Task) -> None:
        """ZobenchError for rules that do not fit the task."""
        loss, free = self.loss_of(task), task.kind == "generation"
        if loss == "classification" and free:
            raise ZobenchError(f"task {task.name}: train_loss=classification needs candidates; use option")
        if loss == "non_diff" and not free:
            raise ZobenchError(f"task {task.name}: train_loss=non_diff is for generation tasks; use {task.train_loss}")
        if self.scoring != "mean" and free:
            raise ZobenchError(f"task {task.name}: scoring={self.scoring} needs candidates; use mean")
        if self.scoring != "mean" and task.sfc is None:
            raise ZobenchError(f"task {task.name}: the task has no [sfc] calibration texts; use scoring=mean")
        if self.max_length < 2:
            raise ZobenchError(f"max_length={self.max_length}: rows of at least 2 tokens are needed")

    def check_room(self, task: Task, context: int) -> None:
        """ZobenchError where a model of this context (tokens) has no room for a prompt beside an answer."""
        room = min(self.max_length, context)
        if task.kind == "generation" and room - self.max_new_tokens < 2:
            raise ZobenchError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a prompt in {room} tokens; set it lower"
            )
