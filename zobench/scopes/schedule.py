"""Scopes that change with the step: decoder blocks by turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..errors import ZobenchError
from .scope import Scope


class Names(Protocol):
    """What scopes know of a decoder block: its index and the names of its parameters."""

    @property
    def index(self) -> int:
        """0-based, in the order of the forward pass."""

    def parameter_names(self) -> list[str]:
        """Full names, as in `model.named_parameters()`."""


class Schedule(Scope):
    """Decoder blocks by turns: in step t those of `at(t)` move, and in every step what is in no block.

        Schedule(context.everything(), context.blocks, lambda step: [step % len(context.blocks)])

    Args:
        scope: the tensors that may move at all; its masks hold. Without embeddings, head and final norm:
            context.layers(*range(len(context.blocks))).
        blocks: the decoder blocks.
        at: the indices of the blocks that move in a step (0-based), a pure function: replay and resume ask again, in
            any order.

    `active` raises ZobenchError for an index that no block has.
    """

    def __init__(self, scope: Scope, blocks: Sequence[Names], at: Callable[[int], Iterable[int]]) -> None:
        super().__init__(scope.named, masks=scope.masks, layers=scope.layers)
        self.at = at
        self._block_of = {name: block.index for block in blocks for name in block.parameter_names()}
        self._indices = frozenset(block.index for block in blocks)

    def active(self, step: int) -> Callable[[str], bool]:
        now = frozenset(self.at(step))
        if not now <= self._indices:
            strange = sorted(now - self._indices)
            raise ZobenchError(f"the schedule names decoder blocks {strange} in step {step}, which do not exist")

        def moves(name: str) -> bool:
            index = self._block_of.get(name)
            return index is None or index in now

        return moves
