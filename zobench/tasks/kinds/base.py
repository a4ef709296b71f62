"""What a task kind says and does. Light: torch is imported by what computes.

A kind is an object without state, and there is one of each. What it works on is handed to it: a task, its encoder, and
for losses and scores the `PreparedTask`, which holds the rows, the rules and the model's forward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from ...errors import ZobenchError
from ..example import Example, RowForm

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.forward import Call, Forward
    from ..batch import Batch
    from ..encode import Encoded, Encoder
    from ..rules import Rules
    from ..score import Item, Progress
    from .handed import Prepared, TaskFile

Values: TypeAlias = Mapping[str, Any]
"""An item's fields, as templates see them."""
_LOSS_NEEDS = {"classification": "needs candidates", "non_diff": "is for generation tasks"}


@dataclass(frozen=True)
class ItemScores:
    """A split's items, scored."""

    items: list[float]
    """One value an item, NaN where the model gave NaN."""
    predictions: list[int | str | None]
    """The chosen candidate's index or the generated text, None where the model gave NaN; empty for a kind that predicts
    nothing."""
    forwards: int
    """Calls of the model."""


class TaskKind(ABC):
    """Owns the rows, the loss, the scoring and the expected forwards of the tasks of its kind."""

    keys: ClassVar[frozenset[str]]
    """Of `answer` and `candidates`, what the template of a task file must have; it may not have the other."""
    metrics: ClassVar[tuple[str, ...]]
    """The metrics that a task file may name."""
    losses: ClassVar[tuple[str, ...]]
    """The training losses that rules may name (zobench.tasks.rules)."""
    form: ClassVar[RowForm] = RowForm()
    same_candidates: bool = False
    """Whether all items have the same candidates, so that a classifier can be learned of them."""

    @property
    def chooses(self) -> bool:
        """Whether its tasks have candidates."""
        return "candidates" in self.keys

    # ---- task files and rules

    def check(self, task: TaskFile) -> None:
        """ZobenchError for a task file whose keys do not fit its kind."""
        for key, value in (("answer", task.answer), ("candidates", task.candidates)):
            if (value is None) == (key in self.keys):
                how = "does not fit" if value is not None else "is missing for"
                raise ZobenchError(f"task {task.name}: template.{key} {how} kind {task.kind!r}")
        if task.train_loss not in self.losses or (task.sfc is not None and not self.chooses):
            raise ZobenchError(f"task {task.name}: {task.kind} needs train_loss 'option' and no [sfc]")

    def check_rules(self, rules: Rules, task: TaskFile) -> None:
        """ZobenchError for rules that do not fit the kind."""
        loss = rules.loss_of(task)
        if loss not in self.losses:
            raise ZobenchError(f"task {task.name}: train_loss={loss} {_LOSS_NEEDS[loss]}; use {task.train_loss}")
        if rules.scoring != "mean" and not self.chooses:
            raise ZobenchError(f"task {task.name}: scoring={rules.scoring} needs candidates; use mean")

    def kept_free(self, rules: Rules) -> int:
        """Number of tokens of a row to keep free for a generated answer."""
        return 0

    # ---- items

    @abstractmethod
    def render(self, task: TaskFile, item: Values, label: str) -> Example:
        """An item as prompt and answers. `label` names it in errors. Raises ZobenchError as `Task.render`."""

    @abstractmethod
    def lines(self, example: Example) -> list[str]:
        """What a reader should see of an example beside its prompt."""

    def shown_rows(self, encoder: Encoder, example: Example) -> list[tuple[str, Encoded]]:
        """The rows that a reader should see, each with what it is for."""
        return [("scored", encoder.encode(example))]

    # ---- rows

    def training_rows(self, encoder: Encoder, example: Example, loss_name: str) -> Encoded:
        """The rows that a training or dev loss of this name looks at: the prompt with the right answer."""
        return encoder.encode(example, training=True, only_gold=True)

    def scoring_rows(self, encoder: Encoder, rules: Rules, example: Example, shown: Sequence[Example]) -> Item:
        """The rows that are scored, after the demonstrations `shown`, and calibration rows where rules ask for them."""
        return encoder.encode(example, demonstrations=shown), None

    # ---- losses and scores

    def loss(self, prepared: Prepared, forward: Forward, batch: Batch) -> Tensor:
        """The training loss of a batch, a 0-dim tensor: the one of zobench.tasks.loss that the rules name."""
        from ..loss import LOSSES

        return LOSSES[prepared.loss_name](forward, batch, **prepared.counting)

    def dev_loss(self, prepared: Prepared, call: Call, batch: Batch) -> tuple[Tensor, int]:
        """The loss of a dev batch, and the calls of the model that it took."""
        return prepared.loss(call, batch), prepared.calls(batch)

    @abstractmethod
    def score(
        self, prepared: Prepared, forward: Forward, scored: Sequence[Item], progress: Progress | None
    ) -> ItemScores:
        """The items of a split by the task's metric, from their `scoring_rows`."""

    def scoring_forwards(self, prepared: Prepared, scored: Sequence[Item]) -> int:
        """The calls of the model that `score` takes, at most."""
        from ..score import expected_forwards

        return expected_forwards(scored, prepared.rules.score_batch_size, prepared.together, prepared.tokens_together)

    def notes(self, prepared: Prepared) -> dict[str, str]:
        """What a reader of records must know of the task with this model, by name."""
        return {}
