"""What kinds are handed: of a task and of a prepared task, what they use. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ...models.forward import Call, Forward
    from ..batch import Batch
    from ..encode import Encoder
    from ..rules import Rules
    from ..score import Scorer
    from ..spread import Spread


class TaskFile(Protocol):
    """What a task file says, and its templates (zobench.tasks.task.Task)."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def kind(self) -> str:
        """The name of its kind."""

    @property
    def metric(self) -> str:
        """The name of its metric."""

    @property
    def train_loss(self) -> str:
        """The name of its training loss."""

    @property
    def answer(self) -> str | None:
        """The expression for the answer; None where the file has none."""

    @property
    def candidates(self) -> tuple[str, ...] | str | None:
        """The candidates, or the expression for them; None where the file has none."""

    @property
    def sfc(self) -> tuple[str, str] | None:
        """The templates of surface-form calibration; None where the file has none."""

    def fill(self, key: str, values: Mapping[str, Any], label: str) -> str:
        """The text of the template `key`."""

    def value(self, key: str, values: Mapping[str, Any], label: str) -> Any:
        """The value of the expression `key`."""

    def strings(self, value: Any, key: str, label: str) -> tuple[str, ...]:
        """What the expression `key` gave, where it is a list of texts; else raises ZobenchError."""

    def candidates_of(self, item: Mapping[str, Any], label: str) -> tuple[str, ...]:
        """The candidates of an item."""


class Prepared(Protocol):
    """A task made ready for one model (zobench.tasks.prepared.PreparedTask)."""

    rules: Rules
    encoder: Encoder
    forward: Forward
    tokenizer: Any
    device: torch.device
    pad_id: int
    loss_name: str
    counting: dict[str, Any]
    """What losses are told of which tokens count."""
    stop: frozenset[int]
    """The tokens that end an answer."""
    spread: Spread | None
    """Several processes that share the work of losses and scores."""
    says_newline: bool
    """Whether the tokenizer has a line break."""

    @property
    def task(self) -> TaskFile:
        """The task."""

    @property
    def together(self) -> int:
        """Rows that are scored in one forward where rows are shared; 0 where they are not."""

    @property
    def tokens_together(self) -> int:
        """So many tokens of short rows are scored in one forward, however many rows that is; 0: `together` rows."""

    def loss(self, call: Call, batch: Batch) -> Tensor:
        """The training loss of a batch."""

    def calls(self, batch: Batch) -> int:
        """The calls of the model that a loss of the batch takes."""

    def scorer(self, forward: Forward) -> Scorer:
        """Scores rows by their log-probabilities."""
