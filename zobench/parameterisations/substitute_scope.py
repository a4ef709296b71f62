"""Tensors that train in the place of a scope's own: adapters, prefixes, scales."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from torch import Tensor, nn

from ..directions.handle import Handle
from ..errors import ZobenchError
from ..scopes.scope import Scope


class Substitutes(Scope):
    """A scope of other tensors than the selected ones, each active when one of those that it stands for is.

    named: as Scope's. of: the selected scope, whose layers and schedule hold. stands_for: name -> names in `of`.
    """

    def __init__(
        self, named: Iterable[tuple[str, Tensor]], of: Scope, stands_for: Mapping[str, Collection[str]]
    ) -> None:
        super().__init__(named, layers=of.layers)
        self._of, self._stands_for = of, stands_for

    def active(self, step: int) -> Callable[[str], bool]:
        on = self._of.active(step)
        return lambda name: any(on(other) for other in self._stands_for[name])


def refuse_masks(scope: Scope, names: Collection[str], what: str) -> None:
    """ZobenchError where the scope masks entries of one of these tensors, which `what` has no entries for."""
    for index, (name, p) in enumerate(scope.named):
        if name in names and scope.mask(Handle(name, p, {}, index), 0) is not None:
            raise ZobenchError(
                f"the scope masks entries of {name}, and {what}; use parameterisation full, or a scope of whole tensors"
            )


def where(scope: Scope) -> str:
    """The scope in a few words, for an error."""
    return f"blocks {list(scope.layers)}" if scope.layers else f"{len(scope.named)} tensors"


def put_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module into the place of the one that has this full name."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
