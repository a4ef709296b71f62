"""Decoder blocks one after the other, over and over."""

from __future__ import annotations

from typing import ClassVar

from zobench import Count, Scope, SelectionContext, Selector

from .turns import a_step, by_turns


class RoundRobin(Selector):
    """In turn t the decoder blocks t count, ..., t count + count - 1, modulo their number.

    MeZO's code for RoBERTa (princeton-nlp/MeZO, medium_models/src/trainer.py, `layer_wise_optim`) moves layer
    (step mod L) alone; MeZO-BCD (arXiv:2501.19099), block coordinate descent, has such an order too.

    Defaults: one block, another at every step, as there. Embeddings, head and final norm never move: names without a
    layer's number are passed over there.
    Forwards: none to select.
    Public code: it offers this for prefix tuning only, and knows a layer's tensors by `.k.` in their name, so that a
    head of several numbered modules would be taken for layers; here blocks are found by structure.
    """

    turns: ClassVar[bool] = True
    reference: ClassVar[str] = "MeZO: Malladi et al. 2023, arXiv:2305.17333 (code); MeZO-BCD: arXiv:2501.19099"
    public_code: ClassVar[str] = (
        "princeton-nlp/MeZO (MIT): for prefix tuning only; finds layers by `.k.` in a tensor's name"
    )
    verified: ClassVar[bool | None] = True
    argument: ClassVar[str] = "count"

    count: Count = 1
    """Blocks that move together."""
    every: Count = 1
    """Steps before it is the next ones' turn."""
    rest: bool = False
    """Whether embeddings, head and final norm move, at every step."""

    def check(self, blocks: int) -> None:
        """ZobenchError for a count above the model's blocks."""
        a_step(self.count, 1, blocks, "round_robin.count")

    def select(self, context: SelectionContext) -> Scope:
        """The schedule. ZobenchError for a count above the model's blocks."""
        n = len(context.blocks)
        k = a_step(self.count, 1, n, "round_robin.count")
        return by_turns(context, lambda turn: [(turn * k + i) % n for i in range(k)], every=self.every, rest=self.rest)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        return 0
