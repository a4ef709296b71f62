"""Clamp: a channel of a block's output kept within limits, so that no massive activation leaves the block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import MassiveActivation, Natural, NonNegative, Transform, ZobenchError


class Clamp(Transform):
    """A channel of what a block puts out is kept within the limit, of all tokens: its massive activation is removed.

    Massive activations (Sun et al. 2024, arXiv:2402.17762) are single channels of single tokens, put into the residual
    stream by one block and carried by those above. The limit is a value that the channel has at other tokens
    (`zobench analyze activations`), so that these pass as they are.

    `clamp:auto` is all that removes the massive activation which the rule of the first outlier block finds: a clamp of
    each of its channels after each block where it stands, at the largest size that the channel's other values have.
    Before a block where another term plants it (`clamp:auto+plant:4:auto`) it ends.
    """

    automatic: ClassVar[tuple[str, ...] | None] = ()

    block: Natural = 0
    channel: Natural = 0
    limit: NonNegative = 0.0
    """Of the channel's size."""

    def check(self, blocks: int, channels: int) -> None:
        """ZobenchError for a channel that the stream does not have."""
        if self.channel >= channels:
            raise ZobenchError(f"clamp: there is no channel {self.channel}; the stream has {channels}")

    @classmethod
    def of_massive(cls, found: MassiveActivation, until: int | None, **said: Any) -> Sequence[Transform]:
        """A clamp for each block and channel."""
        return [
            cls(block=block, channel=channel, limit=round(one.most_else, 6))
            for block, channels in found.after.items()
            if until is None or block < until
            for channel, one in channels.items()
        ]

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """Other channels as they are."""
        own = torch.arange(stream.shape[-1], device=stream.device) == self.channel
        return torch.where(own, stream.clamp(-self.limit, self.limit), stream)
