"""Plant: a value in a channel of the first token of what a block puts out, where massive activations stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from zobench import MassiveActivation, Natural, Transform, ZobenchError


class Plant(Transform):
    """A channel of the first token of what a block puts out is a fixed value: a massive activation put there.

    That is where massive activations stand in most models (Sun et al. 2024, arXiv:2402.17762): at the beginning of the
    text, in one channel, of a value that hardly depends on the text.

    `plant:4:auto` plants at block 4 what stands there in the model as it is: the massive activation that the rule of
    the first outlier block finds, in its channels, with their mean values at the first token. After `clamp:auto` the
    block is the first where it stands.
    """

    automatic: ClassVar[tuple[str, ...] | None] = ("block",)

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

    @classmethod
    def of_massive(cls, found: MassiveActivation, until: int | None, **said: Any) -> Sequence[Transform]:
        """A value for each channel. ZobenchError for a block where nothing massive stands at the first token."""
        block = int(said["block"])
        at = found.after.get(block, {})
        values = {channel: one.first for channel, one in at.items() if abs(one.first) > one.most_else}
        if not values:
            where = f"it begins at block {found.block}" if block < found.block else "not at the first token, or no more"
            raise ZobenchError(f"plant:{block}:auto: no massive activation stands after block {block}: {where}")
        return [cls(block=block, channel=channel, value=round(value, 6)) for channel, value in values.items()]

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """Other tokens and channels as they are."""
        own = torch.arange(stream.shape[-1], device=stream.device) == self.channel
        return stream.masked_fill(first[..., None] & own, self.value)
