"""Plant: a value in a channel of the first token of what a block puts out, where massive activations stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zobench import Natural, Transform, ZobenchError


class Plant(Transform):
    """A channel of the first token of what a block puts out is a fixed value: a massive activation put there.

    That is where massive activations stand in most models (Sun et al. 2024, arXiv:2402.17762): at the beginning of the
    text, in one channel, of a value that hardly depends on the text.
    """

    block: Natural = 0
    channel: Natural = 0
    value: float = 0.0
    """What the channel is set to."""

    def check(self, blocks: int, channels: int) -> None:
        """ZobenchError for a channel that the stream does not have, and for a value that is no number."""
        if not math.isfinite(self.value):
            raise ZobenchError(f"plant: value={self.value:g} must be finite")
        if self.channel >= channels:
            raise ZobenchError(f"plant: there is no channel {self.channel}; the stream has {channels}")

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """Other tokens and channels as they are."""
        own = torch.arange(stream.shape[-1], device=stream.device) == self.channel
        return stream.masked_fill(first[..., None] & own, self.value)
