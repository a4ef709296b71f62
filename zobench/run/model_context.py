"""What a selector may look at where nothing is trained: a model, and batches at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from ..contracts.selector import ProbeResult, SelectionContext
from ..errors import ZobenchError
from .selection import everything, layers

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.blocks import Block
    from ..models.load import LoadedModel
    from ..scopes.scope import Scope
    from ..tasks.batch import Batch


class ModelContext(SelectionContext):
    """What a selector may look at where there are no runs: the model, and batches of the lengths of a task."""

    def __init__(
        self, loaded: LoadedModel, batches: Sequence[Batch], loss: Callable[[Callable[..., Any], Batch], Tensor]
    ) -> None:
        self.loaded, self.seed, self._batches, self._loss = loaded, 0, batches, loss

    @property
    def blocks(self) -> Sequence[Block]:
        return self.loaded.blocks

    def calibration(self, batches: int, batch_size: int) -> list[Batch]:
        return list(islice(cycle(self._batches), batches))

    @torch.no_grad()
    def loss(self, batch: Batch) -> Tensor:
        return self._loss(self.loaded.model, batch)

    def count(self, purpose: str, forwards: int) -> None:
        pass

    def note(self, **facts: Any) -> None:
        pass

    def everything(self) -> Scope:
        return everything(self.loaded)

    def layers(self, *indices: int) -> Scope:
        return layers(self.loaded, indices)

    def probe(self, scope: Scope, steps: int, lr: float | None = None, *, metric: bool = False) -> ProbeResult:
        raise ZobenchError("a bench trains nothing: --also takes selectors that choose without probes")
