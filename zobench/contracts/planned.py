"""What is known of a cell before anything runs: what an estimator may refuse by. Light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planned:
    """A cell as its configuration, its task file and the model's names say: no item is read, nothing is computed."""

    task: str
    kind: str
    """Of the task, as its file names it."""
    loss: str
    """The training loss that holds, as `train_loss` has it (`non_diff` has no gradient)."""
    train: int
    """Training examples at most, at least 1."""
    batch_size: int
    weight_decay: float
    parameterisation: str
    names: tuple[str, ...] | None
    """What of the model could move under the parameterisation; None of what trains nothing."""
    linear: frozenset[str] = frozenset()
    """Of these the weights of linear layers, `torch.nn.Linear`: what `Losses.with_inputs` has inputs of."""

    def batches(self) -> set[int]:
        """The sizes that training batches have: the last of an epoch has what is left."""
        left = self.train % self.batch_size
        return ({self.batch_size} if self.train >= self.batch_size else set()) | ({left} if left else set())
