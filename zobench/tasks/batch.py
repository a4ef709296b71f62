"""Rows to tensors: left-padded, as the option is then at the same place in every row, and to a multiple of 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .encode import Encoded
from .pack import pack
from .padding import padded
from .share import Shared, share


@dataclass(frozen=True)
class Batch:
    """The rows of some examples, one after the other.

    input_ids, attention_mask: int64 (rows, length), padded on the left. option_len: int64 (rows,).
    labels: int64 (examples,), the gold candidate of each (0 where there is none).
    num_options: rows of each example. width: the largest option_len, an int so that no loss needs to look.
    tokens: tokens that are not padding. golds: accepted answers of each example. shared: the same rows with what they
    have in common once, for losses that take it; none: they look at the rows.
    """

    input_ids: Tensor
    attention_mask: Tensor
    option_len: Tensor
    labels: Tensor
    num_options: tuple[int, ...]
    width: int
    tokens: int
    golds: tuple[tuple[str, ...], ...] = ()
    shared: Shared | None = None

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
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in tensors}
        return replace(self, **moved, shared=None if self.shared is None else self.shared.to(device))

    def replicated(self) -> Batch:
        """The same batch, of which losses look at every row as it is."""
        return self if self.shared is None else replace(self, shared=None)


def collate(
    encoded: Sequence[Encoded],
    pad_id: int,
    multiple: int = 8,
    most: int | None = None,
    *,
    shared: int = 0,
    packed: int = 0,
) -> Batch:
    """All rows of the examples, padded on the left with `pad_id` to a multiple of `multiple` tokens.

    `most`: tokens that the model has positions for; padding stops there, where the multiple would go beyond.
    `shared`, `packed`: give the rows in their shared form too, padded to a multiple of this, or packed; 0: do not.
    """
    rows = [row for e in encoded for row in e.rows]
    ids, mask = padded([row.ids for row in rows], pad_id, multiple, most)
    return Batch(
        input_ids=ids,
        attention_mask=mask,
        option_len=torch.tensor([row.option_len for row in rows], dtype=torch.int64),
        labels=torch.tensor([e.gold or 0 for e in encoded], dtype=torch.int64),
        num_options=tuple(len(e.rows) for e in encoded),
        width=max(row.option_len for row in rows),
        tokens=sum(len(row.ids) for row in rows),
        golds=tuple(e.golds for e in encoded),
        shared=pack(rows, pad_id, packed) if packed else share(rows, pad_id, shared, most) if shared else None,
    )
