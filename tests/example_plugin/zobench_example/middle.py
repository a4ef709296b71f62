"""A selector of its own."""

from __future__ import annotations

from zobench import Natural, Scope, SelectionContext, Selector


class Middle(Selector):
    """The decoder block in the middle, and as many as asked for on either side."""

    around: Natural = 0

    def select(self, context: SelectionContext) -> Scope:
        n = len(context.blocks)
        middle = n // 2
        context.note(middle=middle)
        return context.layers(*range(max(0, middle - self.around), min(n, middle + self.around + 1)))
