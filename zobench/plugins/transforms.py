"""Transforms of a model written as one setting: `clamp:1:17:5`, or several, `clamp:1:17:5+plant:4:17:60`. Light."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ZobenchError, unknown
from ..settings import convert, settings_of

if TYPE_CHECKING:
    from ..contracts.transform import Transform
    from .registry import Plugins


def names(said: str) -> list[str]:
    """The names of the transforms that stand in it."""
    return [term.partition(":")[0].strip() for term in said.split("+")] if said else []


def made_of(said: str, plugins: Plugins) -> list[Transform]:
    """The transforms, in the order in which they are said; none of an empty text.

    Raises ZobenchError for a name that nobody registered, and for values that its settings cannot have.
    """
    return [_made(term.strip(), plugins) for term in said.split("+")] if said.strip() else []


def canonical(said: str, plugins: Plugins) -> str:
    """The same in the one form that identities have. Errors as those of `made_of`."""
    return "+".join(_written(made_of(said, plugins), names(said)))


def _written(made: list[Transform], called: list[str]) -> list[str]:
    def word(value: object) -> str:
        return f"{value:.12g}" if isinstance(value, float) else str(value)

    pairs = zip(called, made, strict=True)
    return [":".join((name, *map(word, one.settings.values()))) for name, one in pairs]


def form(name: str, cls: type[Transform]) -> str:
    """How one is written: `clamp:BLOCK:CHANNEL:LIMIT`."""
    return ":".join((name, *map(str.upper, settings_of(cls))))


def _made(term: str, plugins: Plugins) -> Transform:
    name, *values = (word.strip() for word in term.split(":"))
    if name not in plugins.names("transforms"):
        hint = unknown("transform", name, plugins.names("transforms"), see="zobench ls transforms")
        raise ZobenchError(f"transform={term}: {hint}")
    cls = plugins.transform(name)
    declared = settings_of(cls)
    if len(values) != len(declared):
        raise ZobenchError(f"transform={term}: write {form(name, cls)}")
    label = f"transform={term}: "
    return cls(
        **{
            key: convert(value, setting.type, label + key)
            for (key, setting), value in zip(declared.items(), values, strict=True)
        }
    )
