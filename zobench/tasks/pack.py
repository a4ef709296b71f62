"""Stems side by side in rows about as long as the longest of them, none seeing another: hardly any padding is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from .encode import Row
from .share import Shared, options, placed, stems


def pack(rows: Sequence[Row], pad_id: int, multiple: int = 1) -> Shared:
    """The rows as tensors of their stems, side by side in bins of a multiple of `multiple` tokens."""
    held = stems(rows)
    width = max(row.option_len for row in rows)
    bins, length = best_bins([len(one.ids) for one in held], multiple)
    ids = torch.full((len(bins), length), pad_id)
    own = (
        torch.arange(1, length + 1).repeat(len(bins), 1).neg()
    )  # which stem a token is of; padding is of none but its own
    places = torch.zeros_like(ids)
    begins = [0] * len(held)
    for number, inside in enumerate(bins):
        at = 0
        for index in inside:
            end = at + len(held[index].ids)
            ids[number, at:end] = torch.tensor(held[index].ids)
            own[number, at:end], places[number, at:end] = index, torch.arange(end - at)
            begins[index], at = number * length + at, end
    seen = (own[:, :, None] == own[:, None, :]) & torch.ones(length, length, dtype=torch.bool).tril()
    looked: dict[int, int] = {}  # places in the flattened ids -> in the logits
    place = [[0] * width for _ in rows]
    for index, one in enumerate(held):
        for i in one.rows:
            option = len(rows[i].ids) - rows[i].option_len
            for k in range(rows[i].option_len):
                flat = begins[index] + option - 1 + k
                place[i][width - rows[i].option_len + k] = looked.setdefault(flat, len(looked))
    numbers: Counter[int] = Counter()  # of places, by bin
    slot = []
    for flat in looked:
        slot.append(numbers[flat // length])
        numbers[flat // length] += 1
    return Shared(
        input_ids=ids,
        attention_mask=seen[:, None],
        last=length,
        stem=torch.zeros(len(rows), 1, dtype=torch.int64),
        place=torch.tensor(place),
        **options(rows, width),
        **placed(held, begins),
        position_ids=places,
        at=torch.tensor(list(looked)),
        slot=torch.tensor(slot),
        slots=max(slot) + 1,
    )


def best_bins(sizes: Sequence[int], multiple: int) -> tuple[list[list[int]], int]:
    """Which stems share a bin, and the bins' length: of some lengths from the longest stem's up, the one of which the
    fewest tokens are filled up.
    """
    longest = max(sizes)
    lengths = {-(-longest * tried // 8 // multiple) * multiple for tried in range(8, 17)}
    found = {length: _bins(sizes, length) for length in sorted(lengths) if length >= longest}
    best = min(found, key=lambda length: (len(found[length]) * length, length))
    return found[best], best


def _bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Best fit: the largest first, each where it leaves least room."""
    room: list[int] = []
    inside: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = [n for n, left in enumerate(room) if left >= sizes[index]]
        if fitting:
            chosen = min(fitting, key=room.__getitem__)
        else:
            chosen = len(room)
            room.append(capacity)
            inside.append([])
        room[chosen] -= sizes[index]
        inside[chosen].append(index)
    return inside
