"""The massive activation of a model: from which block on, in which channels, and what else stands in these. Forwards.

Massive activations (Sun et al. 2024, arXiv 2402.17762) are put into the residual stream by one block, in a few channels
of a few tokens, mostly the first, and carried on by those above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .activations import Tokens, block_activations, body_forward
from .outliers import RATIOS, choose_block

if TYPE_CHECKING:
    from .load import LoadedModel


@dataclass(frozen=True)
class MassiveChannel:
    """One channel of what a block puts out, over real tokens, where some value of it is massive."""

    most_else: float
    """The largest size of its values that are not massive."""
    first: float
    """Its mean value at the first token of a text."""


@dataclass(frozen=True)
class MassiveActivation:
    """What a model's first outlier block makes, after each block where it stands: its channels by number.

    A value is massive from `ratio` times the median size of the block's values on, the bar of the rule that found it.
    """

    block: int
    after: Mapping[int, Mapping[int, MassiveChannel]]
    ratio: float


@torch.no_grad()
def massive_activation(
    loaded: LoadedModel, batches: Sequence[Tokens], *, ratio: float | None = None
) -> MassiveActivation | None:
    """The massive activation that rule `plateau` finds, by two forward passes a batch; None where it finds none.

    batches: with input_ids and attention_mask, (rows, length). ratio: the rule's least max / median; None: the usual.
    ZobenchError as of `block_activations`.
    """
    least = RATIOS["plateau"] if ratio is None else ratio
    table = block_activations(loaded, batches)
    block = choose_block(table, ratio=least)
    if block is None:
        return None
    seen = {row.index: _Channels(least * row.median) for row in table if row.index >= block}
    with ExitStack() as hooks:
        masks: list[Tensor] = []
        for one in loaded.blocks[block:]:
            hooks.callback(one.module.register_forward_hook(_hook(seen[one.index], masks)).remove)
        for batch in batches:
            body_forward(loaded, batch, lambda ids, mask: masks.__setitem__(slice(None), [mask.bool()]))
    found = {index: channels.massive() for index, channels in seen.items()}
    return MassiveActivation(block, {index: one for index, one in found.items() if one}, least)


class _Channels:
    """By channel of one block's output what was seen of it so far."""

    def __init__(self, bar: float) -> None:
        self.bar, self.firsts = bar, 0
        self.any: Tensor | None = None
        self.most_else: Tensor | None = None
        self.first: Tensor | None = None

    def see(self, stream: Tensor, mask: Tensor) -> None:
        """stream: (rows, length, channels); mask: bool (rows, length), real tokens."""
        own = mask.to(stream.device)
        values = stream[own].float()
        massive = values.abs() >= self.bar
        else_ = values.abs().masked_fill(massive, 0.0).amax(0)
        first = stream[own & (own.cumsum(-1) == 1)].float()
        self.any = massive.any(0) if self.any is None else self.any | massive.any(0)
        self.most_else = else_ if self.most_else is None else torch.maximum(self.most_else, else_)
        self.first = first.sum(0) if self.first is None else self.first + first.sum(0)
        self.firsts += len(first)

    def massive(self) -> dict[int, MassiveChannel]:
        """The channels in which some value is massive."""
        assert self.any is not None and self.most_else is not None and self.first is not None
        most, mean = self.most_else.tolist(), (self.first / max(1, self.firsts)).tolist()
        return {c: MassiveChannel(most[c], mean[c]) for c in self.any.nonzero().flatten().tolist()}


def _hook(channels: _Channels, masks: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        channels.see(output[0] if isinstance(output, tuple) else output, masks[0])

    return hook
