"""Rows that are predicted from the same tokens share one forward row: the prompt once, not once a candidate.

The log-probabilities of a row's option take the row without its last token. Where options are one token long that is
the prompt alone, the same for all candidates of an example: its logits at the last position hold them all. Where it is
the beginning of what another row takes, that row's logits hold it too. A causal model gives the same log-probabilities
either way, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .encode import Row
from .padding import padded


@dataclass(frozen=True)
class Stem:
    """Token ids that a forward passes over, and the numbers of the rows that it holds the logits of."""

    ids: tuple[int, ...]
    rows: tuple[int, ...]


def stems(rows: Sequence[Row]) -> list[Stem]:
    """The fewest stems that hold all rows, in the order of their first rows.

    Among sorted sequences the extensions of one follow it at once, so each is compared with its successor alone.
    """
    taken: list[tuple[tuple[int, ...], list[int]]] = []
    for number in sorted(range(len(rows)), key=lambda i: rows[i].ids[:-1], reverse=True):
        ids = rows[number].ids[:-1]
        if taken and taken[-1][0][: len(ids)] == ids:
            taken[-1][1].append(number)
        else:
            taken.append((ids, [number]))
    return sorted((Stem(ids, tuple(sorted(held))) for ids, held in taken), key=lambda stem: stem.rows[0])


@dataclass(frozen=True)
class Shared:
    """The stems of some rows, and where the log-probabilities of each row's option are found in them.

    input_ids, attention_mask: int64 (stems, length), padded on the left. last: how many positions, from the end, hold
    all that is looked at. stem: int64 (rows, 1), the stem of each row. place, targets: int64 (rows, width), for each
    option token, right-aligned, which of the `last` positions predicts it, and its id. inside: bool (rows, width),
    False where the option is shorter. tokens: in stems, padding left out.

    Packed: input_ids, position_ids: int64 (bins, length), several stems a bin; attention_mask: bool (bins, 1, length,
    length), which tokens a token sees; at: int64 (n,), the places looked at in the flattened ids, which the logits then
    are of, (1, n, vocabulary), and `place` counts in; slot: int64 (n,), the number of each among those of its bin,
    of which there are `slots` at most; stem: all 0.

    stems, begins: what was passed over, and where each begins in the flattened ids. flat: int64 (tokens,), the places
    of all their tokens there, stem after stem.
    """

    input_ids: Tensor
    attention_mask: Tensor
    last: int
    stem: Tensor
    place: Tensor
    targets: Tensor
    inside: Tensor
    tokens: int
    stems: tuple[Stem, ...]
    begins: tuple[int, ...]
    flat: Tensor
    position_ids: Tensor | None = None
    at: Tensor | None = None
    slot: Tensor | None = None
    slots: int = 0

    def to(self, device: torch.device | str) -> Shared:
        """The same with its tensors on `device`."""
        tensors: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})


def share(rows: Sequence[Row], pad_id: int, multiple: int = 1, most: int | None = None) -> Shared:
    """The rows as tensors of their stems; `multiple` and `most` as for `collate`."""
    held = stems(rows)
    ids, mask = padded([stem.ids for stem in held], pad_id, multiple, most)
    width = max(row.option_len for row in rows)
    stem, place, last = [0] * len(rows), [], 1
    for number, one in enumerate(held):
        for i in one.rows:
            stem[i] = number
            last = max(last, len(one.ids) + 1 - len(rows[i].ids) + rows[i].option_len)
    for row, number in zip(rows, stem, strict=True):
        before, option = width - row.option_len, len(row.ids) - row.option_len
        first = last - len(held[number].ids) + option - 1
        place.append([0] * before + list(range(first, first + row.option_len)))
    return Shared(
        input_ids=ids,
        attention_mask=mask,
        last=last,
        stem=torch.tensor(stem)[:, None],
        place=torch.tensor(place),
        **options(rows, width),
        **placed(held, [(number + 1) * ids.shape[1] - len(one.ids) for number, one in enumerate(held)]),
    )


def placed(held: Sequence[Stem], begins: Sequence[int]) -> dict[str, Any]:
    """`stems`, `begins`, `flat` and `tokens` of stems that begin at these places."""
    places = [torch.arange(begin, begin + len(one.ids)) for one, begin in zip(held, begins, strict=True)]
    flat = torch.cat(places)
    return {"stems": tuple(held), "begins": tuple(begins), "flat": flat, "tokens": len(flat)}


def options(rows: Sequence[Row], width: int) -> dict[str, Any]:
    """`targets` and `inside` of rows."""
    lengths = torch.tensor([row.option_len for row in rows])
    targets = [[0] * (width - row.option_len) + list(row.ids[len(row.ids) - row.option_len :]) for row in rows]
    return {"targets": torch.tensor(targets), "inside": torch.arange(width) >= width - lengths[:, None]}
