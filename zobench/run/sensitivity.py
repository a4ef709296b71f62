"""How the loss answers to one block perturbed, block by block, before any training (Dominant-Layer ZO, figure 4).

Beside the size of the change, which the paper draws, what it asserts of it: that the projected gradient of the dominant
block is steady from batch to batch, and points where the gradient does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypedDict

import torch

from ..devices import wide
from ..engine.objective import Objective
from ..errors import ZobenchError, out_of_memory
from .looks import block_scope, look

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.load import LoadedModel
    from ..scopes.scope import Scope
    from ..tasks.batch import Batch
    from ..tasks.prepared import PreparedTask


class Looked(TypedDict):
    """One look: a block displaced along one direction, on one batch. Losses are means over the batch's examples.

    slope: the direction with the gradient of the block over all batches; gradient: that gradient's norm. None: it was
    not taken.
    """

    task: str
    block: int
    parameters: int
    seed: int
    batch: int
    base: float
    plus: float
    minus: float
    slope: float | None
    gradient: float | None


def looked(
    loaded: LoadedModel,
    prepared: PreparedTask,
    batches: Sequence[Batch],
    *,
    seeds: Sequence[int],
    eps: float,
    gradients: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Looked]:
    """Every block, seed and batch: 2 forwards each, and one a batch; with `gradients` one backward a block and batch.

    A gradient is left out, and `progress` told so, where the loss has none or memory does not hold it. Raises
    ZobenchError for losses that are not finite.
    """
    here = [batch.to(loaded.device) for batch in batches]
    with torch.no_grad():
        base = [float(prepared.loss(loaded.model, batch)) for batch in here]
    if not all(map(math.isfinite, base)):
        raise ZobenchError(f"the loss of {loaded.name} on {prepared.task.name} is not finite; try another --dtype")
    out: list[Looked] = []
    for block in loaded.blocks:
        scope = block_scope(loaded, block.index)
        gradient = _gradient(loaded, prepared, here, scope, progress) if gradients else None
        gradients = gradient is not None
        norm = None if gradient is None else math.sqrt(sum(float(wide(g).square().sum()) for g in gradient.values()))
        for seed in seeds:
            for at, batch in enumerate(here):
                objective = partial(prepared.loss, loaded.model, batch)
                plus, minus, slope = look(scope, objective, seed=seed, eps=eps, gradient=gradient)
                if not (math.isfinite(plus) and math.isfinite(minus)):
                    raise ZobenchError(
                        f"the loss is not finite with block {block.index} perturbed: lower --eps {eps:g}"
                    )
                out.append(
                    Looked(
                        task=prepared.task.name,
                        block=block.index,
                        parameters=scope.numel(),
                        seed=seed,
                        batch=at,
                        base=base[at],
                        plus=plus,
                        minus=minus,
                        slope=slope,
                        gradient=norm,
                    )
                )
        progress(f"{prepared.task.name}: block {block.index} of {len(loaded.blocks)}")
    return out


def _gradient(
    loaded: LoadedModel,
    prepared: PreparedTask,
    batches: Sequence[Batch],
    scope: Scope,
    progress: Callable[[str], None],
) -> dict[str, Tensor] | None:
    """The gradient of the mean loss over the batches, by name, float32; None where it cannot be had."""
    total: dict[str, Tensor] = {}
    try:
        for batch in batches:
            objective = Objective(loaded.model, prepared.loss, batch)
            _, found = objective.gradient([name for name, _ in scope.named])
            for name, g in found.items():
                share = g.float() / len(batches)
                total[name] = total[name].add_(share) if name in total else share
    except Exception as e:
        if not (isinstance(e, ZobenchError) or out_of_memory(e)):
            raise
        progress(f"{prepared.task.name}: no gradients: {str(e).splitlines()[0] if str(e) else 'memory ran out'}")
        return None
    return total
