"""The objective of a batch of which each rank has a part (zobench.run.ranks)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from ..engine.objective import Objective
from ..errors import ZobenchError

if TYPE_CHECKING:
    from .ranks import Ranks


class RankedObjective(Objective):
    """As an Objective of this rank's part; `whole` makes of losses of parts those of the whole batch.

    of: what it is of, the same on all ranks. weight: of this rank's part in the mean; 0: it has none, and looks at
    nothing. parts: the batch of each example of the whole batch, made when asked for.
    """

    ranks: Ranks
    of: str
    weight: float
    parts: Sequence[Callable[[], Any]]

    @classmethod
    def made(
        cls, objective: Objective, ranks: Ranks, of: str, weight: float, parts: Sequence[Callable[[], Any]]
    ) -> RankedObjective:
        """Of an objective of this rank's part of a batch."""
        out = cls.__new__(cls)
        vars(out).update(vars(objective))
        out.ranks, out.of, out.weight, out.parts = ranks, of, weight, parts
        out.batched = objective.batched and weight > 0
        return out

    def whole(self, losses: list[Tensor]) -> list[Tensor]:
        """The losses of the whole batch, the same on all ranks. One exchange."""
        return self.ranks.mean(self.of, self.weight, losses)

    def __call__(self) -> Tensor:
        return super().__call__() if self.weight else torch.zeros(())

    def at(self, weights: Mapping[str, Tensor]) -> Tensor:
        return super().at(weights) if self.weight else torch.zeros(())

    def jvp(self, tangents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = super().jvp(tangents) if self.weight else (torch.zeros(()), torch.zeros(()))
        loss, slope = self.whole(list(found))
        return loss, slope

    def linear(self) -> tuple[Tensor, Objective]:
        loss, other = super().linear() if self.weight else (torch.zeros(()), copy.copy(self))
        assert isinstance(other, RankedObjective)
        other.of = f"{self.of}, linear in its outputs"
        return self.whole([loss])[0], other

    def examples(self) -> list[Objective]:
        """Each example of the whole batch: of those that are another rank's this one hears the losses."""
        return [self._one(i, part) for i, part in enumerate(self.parts)]

    def _one(self, i: int, part: Callable[[], Any]) -> RankedObjective:
        out = copy.copy(self)
        mine = i % self.ranks.size == self.ranks.rank
        out.of, out.weight, out.parts = f"{self.of}, example {i}", float(mine), [part]
        out.batch, out.batched = (part() if mine else None), self.batched and mine
        return out

    def with_inputs(self, names: Sequence[str], see: Callable[[str, Tensor], None]) -> NoReturn:
        _refuse("activations")

    def gradient(self, names: Sequence[str]) -> NoReturn:
        _refuse("gradients")


def _refuse(what: str) -> NoReturn:
    raise ZobenchError(f"this method looks at {what}, and ranks exchange losses alone: run it with one rank")
