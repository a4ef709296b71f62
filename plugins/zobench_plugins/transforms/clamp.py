"""Clamp: a channel of a block's output kept within limits, so that no massive activation leaves the block."""

from __future__ import annotations

import torch
from torch import Tensor

from zobench import Natural, NonNegative, Transform, ZobenchError


class Clamp(Transform):
    """A channel of what a block puts out is kept within the limit, of all tokens: its massive activation is removed.

    Massive activations (Sun et al. 2024, arXiv:2402.17762) are single channels of single tokens, put into the residual
    stream by one block and carried by those above. The limit is a value that the channel has at other tokens
    (`zobench analyze activations`), so that these pass as they are.
    """

    block: Natural = 0
    channel: Natural = 0
    limit: NonNegative = 0.0
    """Of the channel's size."""

    def check(self, blocks: int, channels: int) -> None:
        """ZobenchError for a channel that the stream does not have."""
        if self.channel >= channels:
            raise ZobenchError(f"clamp: there is no channel {self.channel}; the stream has {channels}")

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """Other channels as they are."""
        own = torch.arange(stream.shape[-1], device=stream.device) == self.channel
        return torch.where(own, stream.clamp(-self.limit, self.limit), stream)
