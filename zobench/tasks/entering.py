"""What enters the linear layers of a model in a loss: the same tokens, in the same order, in every form of its rows.

They are those that the loss depends on: of every row all tokens but its last, from which nothing is predicted, and no
padding. What candidates share counts once for each of them, also where it is passed over once. Into the head go the
places that answers are predicted from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..devices import sent
from .batch import Batch, Packed


def entering(model: Any, loss_name: str, batch: Batch) -> Callable[[nn.Module, Tensor], Tensor]:
    """For losses of this name of a batch by this model: of a linear layer and what enters it, (..., in), the rows
    (n, in) that count.
    """
    answers = loss_name != "lm" and hasattr(model, "get_output_embeddings")  # lm predicts every token of a row
    return _Entered(batch, model.get_output_embeddings() if answers else None)


class _Entered:
    """The rows that count, of one batch. What enters several layers, one after the other, is picked once."""

    def __init__(self, batch: Batch, head: Any) -> None:
        self.batch, self.head = batch, head
        self.picked: tuple[Tensor, bool, Tensor] | None = None
        self.places: dict[tuple[int, bool, torch.device], Tensor | None] = {}

    def __call__(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Rows (n, in) of x. All of it where x is not of all tokens (a layer that is given some of them, as an expert,
        or a forward over a part of the rows).
        """
        of_head = layer is self.head
        if self.picked is None or self.picked[0] is not x or self.picked[1] != of_head:
            flat = x.reshape(-1, x.shape[-1])
            places = self._places(flat.shape[0], of_head, flat.device)
            self.picked = x, of_head, flat if places is None else flat.index_select(0, places)
        return self.picked[2]

    def _places(self, n: int, of_head: bool, device: torch.device) -> Tensor | None:
        key = n, of_head, device
        if key not in self.places:
            found = self._of_answers(n) if of_head else self._of_rows(n)
            self.places[key] = None if found is None else sent(found, device)
        return self.places[key]

    def _of_rows(self, n: int) -> Tensor | None:
        """int64: the places of all rows' tokens among the n of a forward; None where it has others."""
        return self._rows if n == self._looked.input_ids.numel() else None

    def _of_answers(self, n: int) -> Tensor | None:
        """int64: the places that answers are predicted from, among the n that are given to the head."""
        if isinstance(self._looked, Packed) and n == len(self._looked.at) != self._looked.input_ids.numel():
            return self._answers_looked_at(self._looked.place)
        units = self._looked.input_ids.shape[0]
        return self._answers(n // units) if n % units == 0 else None

    @cached_property
    def _looked(self) -> Any:
        return self.batch if self.batch.shared is None else self.batch.shared

    @cached_property
    def _begins(self) -> list[int]:
        """Where each row begins in the flattened ids that are passed over."""
        shared, length = self.batch.shared, self.batch.input_ids.shape[1]
        if shared is None:
            return [(i + 1) * length - n for i, n in enumerate(self.batch.lengths)]
        of = {row: begin for stem, begin in zip(shared.stems, shared.begins, strict=True) for row in stem.rows}
        return [of[i] for i in range(self.batch.rows)]

    @cached_property
    def _rows(self) -> Tensor:
        return _ranges([(b, b + n - 1) for b, n in zip(self._begins, self.batch.lengths, strict=True)])

    def _answers(self, given: int) -> Tensor | None:
        """Where the head is given the last `given` tokens of each of the sequences that are passed over."""
        length = self._looked.input_ids.shape[1]
        skipped = length - given
        out = []
        for begin, n, option in zip(self._begins, self.batch.lengths, self.batch.options, strict=True):
            sequence, place = divmod(begin + n - 1 - option, length)
            if place < skipped:
                return None
            first = sequence * given + place - skipped
            out.append((first, first + option))
        return _ranges(out)

    def _answers_looked_at(self, place: Tensor) -> Tensor:
        """Where a head is given the places looked at of packed rows alone."""
        width = place.shape[1]
        inside = _ranges([((i + 1) * width - n, (i + 1) * width) for i, n in enumerate(self.batch.options)])
        return place.flatten().index_select(0, sent(inside, place.device))


def _ranges(of: list[tuple[int, int]]) -> Tensor:
    """int64: the numbers from `begin` to `end`, not included, of each pair, one after the other."""
    return torch.cat([torch.arange(begin, end) for begin, end in of])
