"""Greedy decoding: the likeliest token until a stop token or the limit, as MeZO generates answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.forward import Forward
from ..models.positions import rows_by_length
from .padding import padded


def stop_tokens(tokenizer: Any) -> frozenset[int]:
    """The ids that end an answer: the last one of a line break, and the tokenizer's end of sequence."""
    newline = tokenizer.encode("\n", add_special_tokens=False)[-1:]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return frozenset(int(i) for i in (*newline, *eos))


def greedy(
    forward: Forward, ids: Tensor, mask: Tensor | None, *, limit: int, stop: frozenset[int]
) -> tuple[list[list[int] | None], int]:
    """New ids of each row (with the stop token, if one came) and the forward passes it took.

    ids: int64 (rows, length), left-padded where `mask` (rows, length) is 0; None for no padding. A row of which a
    logit is NaN gives None. The keys and values of earlier tokens are reused where the forward can.
    """
    if mask is not None and forward.padding == "seen":
        return _by_length(forward, ids, mask, limit, stop)
    rows: list[list[int] | None] = [[] for _ in range(ids.shape[0])]
    going, past, forwards = set(range(ids.shape[0])), None, 0
    while going and forwards < limit:
        last, past = forward.next(ids, mask, past)
        forwards += 1
        step = last.argmax(-1, keepdim=True)
        chosen = torch.where(last.isnan().any(-1), -1, step[:, 0]).tolist()
        for number in sorted(going):
            row, token = rows[number], chosen[number]
            if token < 0 or row is None:
                rows[number] = None
            else:
                row.append(token)
            if token < 0 or token in stop:
                going.discard(number)
        ids = torch.cat([ids, step], dim=1)
        mask = None if mask is None else torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
    return rows, forwards


def _by_length(
    forward: Forward, ids: Tensor, mask: Tensor, limit: int, stop: frozenset[int]
) -> tuple[list[list[int] | None], int]:
    """As `greedy`, the rows of each length by themselves, without padding."""
    out: list[list[int] | None] = [None] * ids.shape[0]
    forwards = 0
    for length, rows in rows_by_length(mask).items():
        made, used = greedy(forward, ids[rows, ids.shape[1] - length :], None, limit=limit, stop=stop)
        forwards += used
        for row, new in zip(rows, made, strict=True):
            out[row] = new
    return out, forwards


def answers(
    forward: Forward,
    prompts: Sequence[Sequence[int]],
    *,
    room: Callable[[int], int],
    stop: frozenset[int],
    pad_id: int,
    device: torch.device | str,
    together: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[list[int] | None], int]:
    """What `greedy` gives for each prompt, in their order, and the calls of the model that it took.

    room: the tokens that may follow a prompt of so many. together: 0: each prompt alone, without padding or mask; else
    that many a batch, those of like length together, padded on the left; a row that is done waits for the others.
    """
    out: list[list[int] | None] = [None] * len(prompts)
    order, forwards = list(range(len(prompts))), 0
    if together:
        order.sort(key=lambda i: -len(prompts[i]))
    size = together or 1
    for start in range(0, len(order), size):
        part = order[start : start + size]
        ids, mask = padded([prompts[i] for i in part], pad_id)
        limit, masked = room(ids.shape[1]), mask.to(device) if together else None
        made, used = greedy(forward, ids.to(device), masked, limit=limit, stop=stop)
        for i, row in zip(part, made, strict=True):
            out[i] = row
        forwards += used
        if progress is not None:
            progress(start + len(part), len(order))
    return out, forwards
