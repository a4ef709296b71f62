"""Rows to tensors: left-padded, as the option is then at the same place in every row, and to a multiple of 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .encode import Encoded


@dataclass(frozen=True)
class Batch:
    """The rows of some examples, one after the other.

    input_ids, attention_mask: int64 (rows, length), padded on the left. option_len: int64 (rows,).
    labels: int64 (examples,), the gold candidate of each (0 where there is none).
    num_options: rows of each example. width: the largest option_len, an int so that no loss needs to look.
    tokens: tokens that are not padding. golds: accepted answers of each example.
    """

    input_ids: Tensor
    attention_mask: Tensor
    option_len: Tensor
    labels: Tensor
    num_options: tuple[int, ...]
    width: int
    tokens: int
    golds: tuple[tuple[str, ...], ...] = ()

    @property
    def rows(self) -> int:
        """Encoded sequences."""
        return self.input_ids.shape[0]

    @property
    def examples(self) -> int:
        """Examples, each of one row or more."""
        return len(self.num_options)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        tensors = ("input_ids", "attention_mask", "option_len", "labels")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in tensors})


def collate(encoded: Sequence[Encoded], pad_id: int, multiple: int = 8, most: int | None = None) -> Batch:
    """All rows of the examples, padded on the left with `pad_id` to a multiple of `multiple` tokens.

    `most`: tokens that the model has positions for; padding stops there, where the multiple would go beyond.
    """
    rows = [row for e in encoded for row in e.rows]
    longest = max(len(row.ids) for row in rows)
    length = -(-longest // multiple) * multiple
    length = length if most is None else max(longest, min(length, most))
    ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for number, row in enumerate(rows):
        ids[number, length - len(row.ids) :] = torch.tensor(row.ids, dtype=torch.int64)
        mask[number, length - len(row.ids) :] = 1
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        option_len=torch.tensor([row.option_len for row in rows], dtype=torch.int64),
        labels=torch.tensor([e.gold or 0 for e in encoded], dtype=torch.int64),
        num_options=tuple(len(e.rows) for e in encoded),
        width=max(row.option_len for row in rows),
        tokens=sum(len(row.ids) for row in rows),
        golds=tuple(e.golds for e in encoded),
    )
