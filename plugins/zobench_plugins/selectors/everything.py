"""All parameters of the model."""

from __future__ import annotations

from typing import ClassVar

from zobench import Scope, SelectionContext, Selector


class Everything(Selector):
    """Everything may move."""

    reference: ClassVar[str] = "Malladi et al. 2023, arXiv:2305.17333"
    public_code: ClassVar[str] = "princeton-nlp/MeZO (MIT): no defect known"
    verified: ClassVar[bool | None] = True

    def select(self, context: SelectionContext) -> Scope:
        """The whole model."""
        return context.everything()

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        return 0
