"""Selectors that mask single entries, of the whole model or of what another selector chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor

from zobench import Composite, Handle, Scope, SelectionContext, is_static


class Masking(Composite):
    """Base of selectors of entries: alone, of all that the model has; after a colon, of what that selector chooses."""

    alone: ClassVar[bool] = True

    def within(self, context: SelectionContext) -> Scope:
        """What is masked: the other selector's choice, or everything."""
        return self.chosen(context)[0] if self.of else context.everything()


def inside(scope: Scope, masks: Mapping[str, Tensor]) -> Scope:
    """The entries of a scope that masks leave: a plain Scope where the scope is the same in every step."""
    if not is_static(scope):
        return Inside(scope, masks)
    own = scope.masks
    both = {n: masks[n] & own[n] if n in own else masks[n] for n, _ in scope.named if n in masks}
    return Scope([(n, p) for n, p in scope.named if n in both], masks=both, layers=scope.layers)


class Inside(Scope):
    """The entries of a scope that masks leave: `masks` by name; a tensor that is not named there does not move.

    The scope's own masks and schedule hold too.
    """

    def __init__(self, scope: Scope, masks: Mapping[str, Tensor]) -> None:
        named = [(name, p) for name, p in scope.named if name in masks]
        super().__init__(named, masks=masks, layers=scope.layers)
        self._scope = scope
        self._both: dict[str, tuple[Tensor, Tensor]] = {}

    def active(self, step: int) -> Callable[[str], bool]:
        return self._scope.active(step)

    def mask(self, p: Handle, step: int) -> Tensor | None:
        inner, own = self._scope.mask(p, step), self.masks[p.name]
        if inner is None:
            return own
        made = self._both.get(p.name)  # the same tensor while its parts are: a new one would be taken for a change
        if made is None or made[0] is not inner:
            made = self._both[p.name] = inner, inner & own
        return made[1]
