"""How a task is encoded, trained on and scored: the switches that are fixed for a whole table. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ..errors import ZobenchError
from ..settings import Count, Natural

if TYPE_CHECKING:
    from ..models.load import LoadedModel

TrainLossRule = Literal["task", "classification", "option", "lm", "non_diff"]
RowsRule = Literal["auto", "packed", "shared", "replicated"]
"""Whether forwards pass over what an example's rows have in common once, or over every row; packed: once, and training
and dev rows stand side by side, so that there is little padding; auto: packed, where the model can keep them apart,
else shared.
"""

BatchRule = Literal["auto", "rows", "tokens"]
"""Of dev and test items what one forward scores, where rows are not replicated: `eval_batch_size` of them, or as many
more as have SCORED_TOKENS tokens. auto: tokens in float32 on a CPU, where the scores are equal to rounding that decides
nothing, else rows.
"""
SCORED_TOKENS = 512
"""Padding included."""


class HasLoss(Protocol):
    """What has a training loss of its own."""

    @property
    def train_loss(self) -> str:
        """Its name."""


class Ruled(HasLoss, Protocol):
    """What rules ask of a task."""

    def check_rules(self, rules: Rules) -> None:
        """ZobenchError for rules that do not fit the task's kind."""

    def kept_free(self, rules: Rules) -> int:
        """Tokens of a row that are kept free for an answer."""


@dataclass(frozen=True)
class Rules:
    """How a task is encoded, trained on and scored. The defaults are MeZO's."""

    max_length: Count = 2048
    max_new_tokens: Count = 50
    loss_dtype: Literal["model", "float32"] = "model"
    """In which dtype log-probabilities are taken, in training, on dev and in scoring. "model" is MeZO's: in float16 a
    loss is then a multiple of its ulp (0.001 between 1 and 2) and equal scores are common (the first candidate
    wins). "float32" converts the logits first."""
    train_loss: TrainLossRule = "task"
    """Of what is trained: "task" is the task's own; see zobench.tasks.loss for each."""
    pad_targets: Literal["keep", "drop"] = "keep"
    """With "keep" a token of an answer counts in the training loss whatever its id is; padding is what the mask says.
    "drop" is MeZO's, which leaves out those that have the id `config.pad_token_id`; the same wherever no answer has
    that token, so with every tokenizer that has one of its own to pad with."""
    scoring: Literal["mean", "sfc", "icl_sfc"] = "mean"
    """The "mean" log-probability of the option's tokens, or "sfc": sum minus the sum without the item's content
    (Holtzman et al. 2021); with demonstrations "icl_sfc" keeps them before the calibration text."""
    eval_batch_size: Count = 8
    """Examples in a batch of the dev loss."""
    score_batch_size: Count = 1
    """Rows scored together; 1, as in MeZO, needs no padding; more is faster and differs in rounding. Shared rows are
    scored in batches of the larger of this and `eval_batch_size`."""
    pad_to_multiple_of: Count = 8
    demonstrations: Natural = 0
    """Training items shown before every item that is scored (0: none)."""
    demonstration_sets: Literal["fixed", "per_item"] = "fixed"
    """Which: "fixed" shows the first items of the training split to all, "per_item" draws them anew from the training
    pool for each."""
    logits: Literal["option", "all"] = "option"
    """Where: "option" asks the model for logits at answer positions only, where it can; "all" is MeZO's, which also
    sums over complete rows: the same up to rounding, and with the official engine and noise bit for bit."""

    def loss_of(self, task: HasLoss) -> str:
        """The training loss that holds: the task's own, unless the rules name one."""
        return task.train_loss if self.train_loss == "task" else self.train_loss

    def check(self, task: Ruled) -> None:
        """ZobenchError for rules that do not fit the task."""
        task.check_rules(self)
        if self.max_length < 2:
            raise ZobenchError(f"max_length={self.max_length}: rows of at least 2 tokens are needed")

    def check_room(self, task: Ruled, context: int) -> None:
        """ZobenchError where a model of this context (tokens) has no room for a prompt beside an answer."""
        room, free = min(self.max_length, context), task.kept_free(self)
        if free and room - free < 2:
            raise ZobenchError(f"max_new_tokens={free} leaves no room for a prompt in {room} tokens; set it lower")


def form_of_rows(rows: RowsRule, loaded: LoadedModel, rules: Rules) -> RowsRule:
    """The form of rows that `rows` stands for with this model. ZobenchError if packed rows are asked for and the model
    would mix them.
    """
    if rows not in ("auto", "packed"):
        return rows
    if loaded.capabilities.packs_rows_of(rules.max_length):
        return "packed"
    if rows == "packed":
        raise ZobenchError(f"model {loaded.name} cannot keep packed rows apart: use --set rows=shared")
    return "shared"
