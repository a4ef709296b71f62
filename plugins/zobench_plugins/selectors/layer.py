"""Decoder blocks named by the user."""

from __future__ import annotations

from typing import ClassVar

from zobench import Natural, Scope, SelectionContext, Selector, ZobenchError

from .turns import within


class Layer(Selector):
    """All parameters of the named blocks: attention, MLP and norms; no embeddings, head or final norm.

    `layer:30` is the block of index 30; several are written `layer:1+layer:30`, or with `--set layer.index=1,30`.
    """

    reference: ClassVar[str] = "arXiv:2606.05516, section 3.2"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = True
    argument: ClassVar[str] = "index"
    exercise: ClassVar = {"index": (1,)}

    index: tuple[Natural, ...] = ()
    """0-based, comma-separated; negative ones are refused, so that a record always says which block it was."""

    def check(self, blocks: int) -> None:
        """ZobenchError when none is named or the model has no such block."""
        if not self.index:
            raise ZobenchError(f"selector layer: no block named; --set layer.index=K with K from 0 to {blocks - 1}")
        within("layer.index", self.index, blocks)

    def select(self, context: SelectionContext) -> Scope:
        """Those blocks. ZobenchError when none is named or the model has no such block."""
        if not self.index:
            self.check(len(context.blocks))
        return context.layers(*self.index)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        return 0
