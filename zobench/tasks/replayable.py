"""Losses over packed rows as CUDA graphs take them: a function of tensors, the same for all batches of a shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..models.graphs import Graphs, Replayable
from .batch import Batch, Packed

if TYPE_CHECKING:
    from ..models.forward import Call
    from .prefix import PrefixCache

_OF_ROWS = ("option_len", "labels")
_OF_PACKED = ("input_ids", "position_ids", "attention_mask", "at", "slot", "place", "targets", "inside")
"""What losses over packed rows read of a batch."""
ENTERING = "entering"
"""What enters the lowest block that moves, where it is known."""


def replayable(
    graphs: Graphs, prefix: PrefixCache | None, loss: Callable[[Call, Batch], Tensor], batch: Batch
) -> Replayable | None:
    """The loss of a batch of packed rows, above the cache's block; None of one that has to go through the blocks below
    it, as their hidden states are not known yet.

    loss: of calls of the model and a batch, by what `Batch` and `Packed` hold of packed rows alone.
    """
    packed = _packed(batch)
    inputs: dict[str, Tensor] = {name: getattr(batch, name) for name in _OF_ROWS}
    inputs |= {f"shared.{name}": getattr(packed, name) for name in _OF_PACKED}
    if prefix is not None:
        entering = prefix.entering(packed)
        if entering is None:
            return None
        inputs[ENTERING] = entering
    shapes = tuple((name, tuple(x.shape), x.dtype) for name, x in inputs.items())
    key = (shapes, batch.num_options, packed.slots)
    return Replayable(graphs, key, inputs, partial(_loss, loss, prefix, batch))


def _loss(
    loss: Callable[[Call, Batch], Tensor],
    prefix: PrefixCache | None,
    batch: Batch,
    call: Call,
    inputs: Mapping[str, Tensor],
) -> Tensor:
    """The loss with these tensors in the place of the batch's own."""
    packed: dict[str, Any] = {name: inputs[f"shared.{name}"] for name in _OF_PACKED}
    rows: dict[str, Any] = {name: inputs[name] for name in _OF_ROWS}
    looked = replace(batch, shared=replace(_packed(batch), **packed), **rows)
    with nullcontext() if prefix is None else prefix.cut.given(lambda: inputs[ENTERING]):
        return loss(call, looked)


def _packed(batch: Batch) -> Packed:
    assert isinstance(batch.shared, Packed)
    return batch.shared
