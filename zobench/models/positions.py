"""Places of tokens: in rows padded on the left, and in sequences that stand side by side in one row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def position_ids(attention_mask: Tensor) -> Tensor:
    """Places (int64, rows x length) counted from the first token that is not padding; 0 for padding.

    MeZO passes none: rotary models look at differences of places only, and OPT counts from the mask. Models that count
    from the left edge of the batch (GPT-2, XGLM) would see a row elsewhere when it is padded than when it is alone, so
    they are told where it begins.
    """
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def rows_by_length(attention_mask: Tensor) -> dict[int, list[int]]:
    """Length without padding -> the rows that have it."""
    found: dict[int, list[int]] = {}
    for row, length in enumerate(attention_mask.sum(-1).tolist()):
        found.setdefault(length, []).append(row)
    return found


def side_by_side(
    sequences: Sequence[Sequence[int]], bins: Sequence[Sequence[int]], length: int, pad_id: int
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Sequences in rows of `length` tokens, those of a bin one after the other, none seeing another.

    Returns ids and places, int64 (bins, length); which tokens a token sees, bool (bins, 1, length, length); and where
    each sequence begins in the flattened ids.
    """
    tokens, owners, at = list[int](), list[int](), list[int]()
    begins = [0] * len(sequences)
    for inside in bins:
        end = len(tokens) + length
        for index in inside:
            begins[index], size = len(tokens), len(sequences[index])
            tokens += sequences[index]
            owners += [index] * size
            at += range(size)
        left = end - len(tokens)
        tokens += [pad_id] * left
        owners += range(-left, 0)  # padding is of its own
        at += [0] * left
    ids, own, places = (torch.tensor(each, dtype=torch.int64).view(len(bins), length) for each in (tokens, owners, at))
    seen = (own[:, :, None] == own[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    return ids, places, seen[:, None], begins
