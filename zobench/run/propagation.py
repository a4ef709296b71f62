"""How far a block's perturbation reaches: the residual stream's relative change after every block above it.

The claim of Dominant-Layer ZO, section 4 and figure 5: what enters the stream early goes on to the last hidden state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from ..models.activations import body_forward
from .looks import block_scope, look

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.load import LoadedModel
    from ..tasks.batch import Batch


class Reached(TypedDict):
    """One displacement of one block on one batch. `change`: |h' - h| / |h| after each block, over real tokens."""

    task: str
    block: int
    seed: int
    batch: int
    change: list[float]


def reached(
    loaded: LoadedModel,
    task: str,
    batches: Sequence[Batch],
    *,
    seeds: Sequence[int],
    eps: float,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Reached]:
    """Every block, seed and batch: one forward each of the two sides, whose changes are averaged; one a batch before.

    The stream after every block is kept for one batch at a time.
    """
    out: list[Reached] = []
    for at, batch in enumerate(batches):
        before = _streams(loaded, batch)
        for block in loaded.blocks:
            scope = block_scope(loaded, block.index)
            for seed in seeds:
                seen: list[list[float]] = []

                def forward() -> Tensor:
                    seen.append(_apart(before, _streams(loaded, batch)))  # noqa: B023 - called before the next turn
                    return torch.zeros(())

                look(scope, forward, seed=seed, eps=eps)
                sides = [(a + b) / 2 for a, b in zip(*seen, strict=True)]
                out.append(Reached(task=task, block=block.index, seed=seed, batch=at, change=sides))
        progress(f"{task}: batch {at + 1} of {len(batches)}")
    return out


@torch.no_grad()
def _streams(loaded: LoadedModel, batch: Batch) -> list[Tensor]:
    """By block the stream after it at real tokens, (tokens, channels), of all parts of the batch that ran apart."""
    found: list[list[Tensor]] = [[] for _ in loaded.blocks]
    mask: list[Tensor] = []

    def keep(at: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            stream = output[0] if isinstance(output, tuple | list) else output
            found[at].append(stream[mask[0].to(stream.device)].float().clone())

        return hook

    with ExitStack() as hooks:
        for at, block in enumerate(loaded.blocks):
            hooks.callback(block.module.register_forward_hook(keep(at)).remove)
        body_forward(loaded, batch, lambda ids, real: mask.__setitem__(slice(None), [real.bool()]))
    return [torch.cat(parts) for parts in found]


def _apart(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[float]:
    """By block the norm of the difference over the norm of what was, both over all tokens and channels."""
    out = []
    for was, now in zip(before, after, strict=True):
        whole = float(was.norm())
        out.append(float((now - was).norm()) / whole if whole > 0 else math.nan)
    return out
