"""Gaussian directions on a random part of the entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch

from zobench import Count, Direction, Directions, Draws, Range


class Sparse(Directions):
    """Gaussian on a random share of the entries, 0 on the others; the entries are drawn anew every `hold` steps.

    The random sparsity of ZO-Bench (Zhang et al. 2024, arXiv:2402.11592, section 5): an entry is in the mask with
    probability `share`, and all directions of a step have one mask. Entries outside still decay, where there is weight
    decay. For a mask that stays, or that follows the weights, take a selector (docs/compose.md).

    Defaults: share 0.25, hold 1. State: none.
    """

    reference: ClassVar[str] = "Zhang et al. 2024, arXiv:2402.11592, section 5"
    public_code: ClassVar[str] = "ZO-Bench/ZO-LLM (GPL-3.0): a ratio of 0.2 leaves out 58 % of the entries, not 20 %"
    verified: ClassVar[bool | None] = True
    exercise: ClassVar[Mapping[str, object]] = {"hold": 3}

    share: Annotated[float, Range(gt=0, le=1)] = 0.25
    """Of the entries, how many are in the mask, on average."""
    hold: Count = 1
    """Steps for which a mask is held."""

    def draw(self, of: Draws) -> Direction:
        quantile = 2**0.5 * torch.erfinv(torch.tensor(2 * self.share - 1, dtype=torch.float64)).item()
        mask = of.noise(every=self.hold, label="sparse").map(lambda x: (x <= quantile).to(x.dtype))
        return mask * of.noise()
