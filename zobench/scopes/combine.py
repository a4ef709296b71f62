"""Scopes made of scopes: what any of several moves, and all that one leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..directions.handle import Handle
from ..errors import ZobenchError
from .schedule import Names
from .scope import Scope


def union(everything: Scope, scopes: Sequence[Scope]) -> Scope:
    """What any of `scopes` moves, entry by entry and step by step; tensors in the order of `everything`.

    A plain Scope where all of them are the same in every step. Raises ZobenchError for no scopes, and for a tensor
    that `everything` does not have.
    """
    names = [{name for name, _ in scope.named} for scope in scopes]
    wanted = set().union(*names)
    named = [(name, p) for name, p in everything.named if name in wanted]
    if len(named) < len(wanted):
        strange = min(wanted - {name for name, _ in named})
        raise ZobenchError(f"cannot put scopes together: {strange} is no parameter of the model")
    masks: dict[str, Tensor] = {}
    for name, _ in named:
        own = [scope.masks.get(name) for scope, its in zip(scopes, names, strict=True) if name in its]
        some = [mask for mask in own if mask is not None]
        if len(some) == len(own):
            masks[name] = _either(some)
    layers = sorted({index for scope in scopes for index in scope.layers})
    if all(is_static(scope) for scope in scopes):
        return Scope(named, masks=masks, layers=layers)
    return _Union(named, masks, layers, scopes)


def complement(everything: Scope, scope: Scope, blocks: Sequence[Names] = ()) -> Scope:
    """What `everything` moves and `scope` does not, entry by entry. `blocks`: to tell which of them it touches.

    Raises ZobenchError where nothing is left, and for scopes that change with the step: at some step nothing, or
    everything, would be left.
    """
    for one in (everything, scope):
        if not is_static(one):
            raise ZobenchError(
                f"{type(one).__name__} changes with the step; what it leaves is taken of scopes that stay the same only"
            )
    taken = {name for name, _ in scope.named}
    named, masks = [], {}
    for name, p in everything.named:
        left = everything.masks.get(name)
        if name in taken:
            mask = scope.masks.get(name)
            if mask is None:
                continue
            left = ~mask if left is None else left & ~mask
            if not bool(left.any()):
                continue
        named.append((name, p))
        if left is not None:
            masks[name] = left
    if not named:
        raise ZobenchError("nothing is left: the scope to be left out is the whole model")
    names = {name for name, _ in named}
    return Scope(named, masks=masks, layers=[b.index for b in blocks if names.intersection(b.parameter_names())])


def is_static(scope: Scope) -> bool:
    """Whether a scope is the same in every step."""
    return type(scope).active is Scope.active and type(scope).mask is Scope.mask


class _Union(Scope):
    """Several scopes of which some change with the step."""

    def __init__(
        self,
        named: Sequence[tuple[str, Tensor]],
        masks: dict[str, Tensor],
        layers: Sequence[int],
        scopes: Sequence[Scope],
    ) -> None:
        super().__init__(named, masks=masks, layers=layers)
        self._parts = [(scope, frozenset(name for name, _ in scope.named)) for scope in scopes]
        self._made: dict[str, tuple[list[Tensor], Tensor]] = {}
        self._asked: tuple[int, list[Callable[[str], bool]]] = -1, []

    def _moves(self, step: int) -> list[Callable[[str], bool]]:
        """What each part moves in a step; kept, as masks are asked for tensor by tensor."""
        if self._asked[0] != step:
            self._asked = step, [scope.active(step) for scope, _ in self._parts]
        return self._asked[1]

    def active(self, step: int) -> Callable[[str], bool]:
        asked = list(zip((names for _, names in self._parts), self._moves(step), strict=True))
        return lambda name: any(name in names and moves(name) for names, moves in asked)

    def mask(self, p: Handle, step: int) -> Tensor | None:
        own: list[Tensor] = []
        for (scope, names), moves in zip(self._parts, self._moves(step), strict=True):
            if p.name in names and moves(p.name):
                mask = scope.mask(p, step)
                if mask is None:
                    return None
                own.append(mask)
        if len(own) < 2:
            return own[0] if own else super().mask(p, step)
        made = self._made.get(p.name)  # the same tensor while its parts are: a new one would be taken for a change
        if made is None or len(made[0]) != len(own) or any(a is not b for a, b in zip(made[0], own, strict=True)):
            made = self._made[p.name] = own, _either(own)
        return made[1]


def _either(masks: Sequence[Tensor]) -> Tensor:
    out = masks[0]
    for mask in masks[1:]:
        out = out | mask
    return out
