"""Greedy decoding: the likeliest token until a stop token or the limit, as MeZO generates answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.forward import Forward
from ..models.positions import rows_by_length
from .padding import padded
from .parts import parts
from .spread import Spread, gathered, own_share

SELECT = "batch_select_indices"
"""What caches of transformers have to keep some rows alone."""


def stop_tokens(tokenizer: Any) -> frozenset[int]:
    """The ids that end an answer: the last one of a line break, and the tokenizer's end of sequence."""
    newline = tokenizer.encode("\n", add_special_tokens=False)[-1:]
    eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return frozenset(int(i) for i in (*newline, *eos))


def greedy(
    forward: Forward, ids: Tensor, mask: Tensor | None, *, limit: int, stop: frozenset[int], leave: bool = False
) -> tuple[list[list[int] | None], int]:
    """New ids of each row (with the stop token, if one came) and the forward passes it took.

    ids: int64 (rows, length), left-padded where `mask` (rows, length) is 0; None for no padding. A row of which a
    logit is NaN gives None. The keys and values of earlier tokens are reused where the forward can. leave: rows that
    are done are passed over no more once they are half of all.
    """
    if mask is not None and forward.padding == "seen":
        return _by_length(forward, ids, mask, limit, stop)
    rows: list[list[int] | None] = [[] for _ in range(ids.shape[0])]
    there = list(range(ids.shape[0]))  # the rows that the forward passes over
    going, past, forwards = set(there), None, 0
    while going and forwards < limit:
        last, past = forward.next(ids, mask, past)
        forwards += 1
        step = last.argmax(-1, keepdim=True)
        chosen = torch.where(last.isnan().any(-1), -1, step[:, 0]).tolist()
        for number, token in zip(there, chosen, strict=True):
            if number not in going:
                continue
            row = rows[number]
            if token < 0 or row is None:
                rows[number] = None
            else:
                row.append(token)
            if token < 0 or token in stop:
                going.discard(number)
        ids = torch.cat([ids, step], dim=1)
        mask = None if mask is None else torch.cat([mask, mask.new_ones(len(there), 1)], dim=1)
        if leave and going and 2 * len(going) <= len(there) and (past is None or hasattr(past, SELECT)):
            kept = torch.tensor([at for at, number in enumerate(there) if number in going], device=ids.device)
            there, ids = [number for number in there if number in going], ids[kept]
            mask = None if mask is None else mask[kept]
            if past is not None:
                getattr(past, SELECT)(kept)
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
    tokens: int = 0,
    progress: Callable[[int, int], None] | None = None,
    spread: Spread | None = None,
) -> tuple[list[list[int] | None], int]:
    """What `greedy` gives for each prompt, in their order, and the calls of the model that it took.

    room: the tokens that may follow a prompt of so many. together: 0: each prompt alone, without padding or mask; else
    that many a batch, those of like length together, padded on the left; a row that is done waits for the others.
    tokens: a batch of short ones has as many more as have so many tokens, and rows that are done leave it.
    spread: processes that share the batches.
    """
    out: list[list[int] | None] = [None] * len(prompts)
    order, forwards = list(range(len(prompts))), 0
    if together:
        order.sort(key=lambda i: -len(prompts[i]))
    batches = [order[these] for these in parts([len(prompts[i]) for i in order], together or 1, tokens)]
    found: dict[int, list[list[int] | None]] = {}
    for i in own_share(len(batches), spread):
        ids, mask = padded([prompts[at] for at in batches[i]], pad_id)
        limit, masked = room(ids.shape[1]), mask.to(device) if together else None
        found[i], used = greedy(forward, ids.to(device), masked, limit=limit, stop=stop, leave=tokens > 0)
        forwards += used
        if progress is not None:
            progress(sum(map(len, batches[: i + 1])), len(order))
    found, forwards = gathered("answers", found, forwards, spread)
    for i, batch in enumerate(batches):
        for at, row in zip(batch, found[i], strict=True):
            out[at] = row
    return out, forwards
