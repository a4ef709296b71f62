"""Documents into rows of one length, and rows into what goes through the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .tokenizer import BOS_ID, PAD_ID, DocumentTokens


@dataclass(frozen=True)
class Rows:
    """Rows of tokens, padded at the end."""

    ids: npt.NDArray[np.int64]
    """(rows, length)"""
    weights: npt.NDArray[np.float32]
    """(rows, length): of each token, as something to be predicted, in the loss; 0 for BOS and padding."""

    @property
    def tokens(self) -> int:
        """How many tokens are no padding."""
        return int((self.ids != PAD_ID).sum())


def cut(document: DocumentTokens, capacity: int) -> list[DocumentTokens]:
    """The document in parts of at most `capacity` tokens: one part where it fits."""
    return [
        DocumentTokens(document.ids[i : i + capacity], document.weights[i : i + capacity])
        for i in range(0, len(document.ids), capacity)
    ]


def best_fit(sizes: Sequence[int], rows: int, capacity: int) -> list[list[int]] | None:
    """Which of the parts go into which row: the largest first, each where it leaves least room.

    Returns the indices of each row's parts in their own order, None where the parts do not all fit.
    """
    room = [capacity] * rows
    inside: list[list[int]] = [[] for _ in room]
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = [row for row in range(rows) if room[row] >= sizes[index]]
        if not fitting:
            return None
        row = min(fitting, key=room.__getitem__)
        room[row] -= sizes[index]
        inside[row].append(index)
    return [sorted(indices) for indices in inside]


def pack(documents: Iterable[DocumentTokens], rows: int, length: int, *, bos: bool) -> Rows:
    """The first of `documents`, as many as fit into `rows` rows of `length` tokens; the rest is not drawn from further.

    A row is BOS (with `bos`) and whole documents, each with its own EOS at its end. A document longer than a row is
    cut into parts, of which as many as there are rows are kept. The documents of a row see each other: nothing masks
    one from the next.
    """
    capacity = length - bos
    parts: list[DocumentTokens] = []
    ends = [0]  # parts up to the end of each document
    room = rows * capacity
    for document in documents:
        found = cut(document, capacity)[:rows]
        room -= sum(len(part.ids) for part in found)
        if room < 0:
            break
        parts += found
        ends.append(len(parts))
    sizes = [len(part.ids) for part in parts]
    while (placed := best_fit(sizes[: ends[-1]], rows, capacity)) is None:
        ends.pop()
    ids = np.full((rows, length), PAD_ID, np.int64)
    weights = np.zeros((rows, length), np.float32)
    if bos:
        ids[:, 0] = BOS_ID
    for row, indices in enumerate(placed):
        at = int(bos)
        for part in (parts[i] for i in indices):
            ids[row, at : at + len(part.ids)] = part.ids
            weights[row, at : at + len(part.ids)] = part.weights
            at += len(part.ids)
    return Rows(ids, weights)


@dataclass(frozen=True)
class PackedPart:
    """Some rows of a batch as they go through the model, and the places whose next token counts in the loss."""

    input_ids: Tensor
    """(rows, length) int64"""
    attention_mask: Tensor
    """(rows, length) int64: 0 for padding, which is at the end of rows"""
    places: Tensor
    """(n,) int64: in the flattened rows, the tokens before those that are predicted"""
    targets: Tensor
    """(n,) int64: the tokens that are predicted"""
    weights: Tensor
    """(n,) float32: of each in the loss; over all the parts of a batch they sum to 1"""

    def to(self, device: torch.device) -> PackedPart:
        """The same where the model is; does not wait for a copy from pinned memory."""
        return PackedPart(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))

    def pinned(self) -> PackedPart:
        """The same in memory from which a GPU copies while it computes."""
        return PackedPart(*(getattr(self, name).pin_memory() for name in self.__dataclass_fields__))


def split(rows: Rows, count: int) -> list[PackedPart]:
    """The rows in `count` parts, with weights over the sum of all: the sum of the parts' losses is the mean loss.

    Raises ValueError where no token has a weight.
    """
    total = float(rows.weights[:, 1:].sum(dtype=np.float64))
    if not total > 0:
        raise ValueError("no token of a batch has a weight above 0: there is nothing to learn from it")
    return [
        _part(ids, weights, total)
        for ids, weights in zip(np.array_split(rows.ids, count), np.array_split(rows.weights, count), strict=True)
    ]


def _part(ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float32], total: float) -> PackedPart:
    row, before = np.nonzero(weights[:, 1:])
    return PackedPart(
        torch.from_numpy(ids),
        torch.from_numpy((ids != PAD_ID).astype(np.int64)),
        torch.from_numpy(row * ids.shape[1] + before),
        torch.from_numpy(ids[row, before + 1]),
        torch.from_numpy((weights[row, before + 1] / total).astype(np.float32)),
    )
