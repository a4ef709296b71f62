"""Which cells have their training losses replayed as CUDA graphs, and which cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..errors import ZobenchError
from ..models.graphs import OFF, Graphs
from ..report.record import Observed
from ..tasks.loss import PARTS

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..protocol.protocol import Computation
    from ..tasks.prepared import PreparedTask


def graphed(prepared: PreparedTask, loaded: LoadedModel, wish: Computation) -> PreparedTask:
    """The task as a method looks at it: with training losses from CUDA graphs where they are asked for.

    ZobenchError where there can be none, as `check`, and for a task or a model whose rows are not packed.
    """
    if wish.cuda_graphs == "off":
        return prepared
    check(wish, loaded.devices, ranks=prepared.spread is not None)
    check_rows(prepared)
    return prepared.in_few_shapes(Graphs(loaded.model, loaded.device))


def check(wish: Computation, devices: Sequence[torch.device], *, ranks: bool = False) -> None:
    """ZobenchError where CUDA graphs are asked for and a model on these devices can have none.

    ranks: several processes have a part of each batch.
    """
    if wish.cuda_graphs == "off":
        return
    kinds = {device.type for device in devices}
    if kinds != {"cuda"}:
        raise ZobenchError(f"cuda_graphs=on needs a GPU of CUDA or ROCm, the model is on {min(kinds)}: {OFF}")
    if len(devices) > 1 or ranks:
        raise ZobenchError(f"cuda_graphs=on is of one GPU, in one process: {OFF}")


def check_rows(prepared: PreparedTask) -> None:
    """ZobenchError for rows that are not packed, and for losses over other rows."""
    if prepared.rows != "packed" or prepared.loss_name not in PARTS:
        over = f"rows={prepared.rows}" if prepared.rows != "packed" else f"train_loss={prepared.loss_name}"
        raise ZobenchError(f"task {prepared.task.name}: CUDA graphs are of losses over packed rows, not {over}: {OFF}")


def observed(prepared: PreparedTask) -> Observed:
    """What a record says of it: of how many shapes of batches there are graphs."""
    return {} if prepared.graphs is None else {"graphs": prepared.graphs.captured}
