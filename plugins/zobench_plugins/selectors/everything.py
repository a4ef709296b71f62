"""All parameters of the model."""

from __future__ import annotations

from zobench import Scope, SelectionContext, Selector


class Everything(Selector):
    """Everything may move, as in MeZO (Malladi et al. 2023)."""

    def select(self, context: SelectionContext) -> Scope:
        """The whole model."""
        return context.everything()
