"""Sequences of token ids as one tensor, padded on the left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(
    sequences: Sequence[Sequence[int]], pad_id: int, multiple: int = 1, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, int64 (sequences, length), padded on the left with `pad_id` to a multiple of `multiple`.

    `most`: tokens that the model has positions for; padding stops there, where the multiple would go beyond.
    """
    longest = max(map(len, sequences))
    length = -(-longest // multiple) * multiple
    length = length if most is None else max(longest, min(length, most))
    ids = torch.tensor([[pad_id] * (length - len(s)) + list(s) for s in sequences], dtype=torch.int64)
    mask = torch.tensor([[0] * (length - len(s)) + [1] * len(s) for s in sequences], dtype=torch.int64)
    return ids, mask
