"""All parameters but those that another selector chooses."""

from __future__ import annotations

from typing import ClassVar

from zobench import Composite, Scope, SelectionContext, ZobenchError, complement


class AllBut(Composite):
    """Everything but what another selector chooses: `all_but:first_outlier`, `all_but:layer:1`.

    The control of arXiv:2606.05516: if one layer dominates, training without it should lose most of the gain. Of
    masked tensors the other entries move. Embeddings, head and final norm move, unless the other selector has them.

    Forwards: those of the other selector. It must choose the same in every step: what a schedule leaves would at some
    steps be nothing.
    """

    reference: ClassVar[str] = "a control for arXiv:2606.05516, section 3.2"
    public_code: ClassVar[str] = "none found"
    verified: ClassVar[bool | None] = True

    def check(self, blocks: int) -> None:
        """ZobenchError for a selector whose scope changes with the step."""
        super().check(blocks)
        (part,) = self.of
        if part.cls.turns:
            raise ZobenchError(f"all_but:{part.label}: what {part.label} chooses changes with the step; name another")

    def select(self, context: SelectionContext) -> Scope:
        """The complement. ZobenchError where nothing is left, and for a selector whose scope changes with the step."""
        (scope,) = self.chosen(context)
        return complement(context.everything(), scope, context.blocks)
