"""Transforms of a model written as one setting: `clamp:1:17:5`, or several, `clamp:1:17:5+plant:4:17:60`. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError, unknown
from ..settings import convert, settings_of

if TYPE_CHECKING:
    from ..contracts.transform import Transform
    from ..models.massive import MassiveActivation
    from .registry import Plugins


AUTO = "auto"
"""Stands for the settings of a term that the model's massive activation says: `clamp:auto`, `plant:4:auto`."""


def names(said: str) -> list[str]:
    """The names of the transforms that stand in it."""
    return [term.partition(":")[0].strip() for term in said.split("+")] if said else []


def made_of(said: str, plugins: Plugins, massive: Callable[[], MassiveActivation] | None = None) -> list[Transform]:
    """The transforms, in the order in which they are said; none of an empty text.

    massive: finds the model's massive activation, for automatic terms; None: these are left out.

    Raises ZobenchError for a name that nobody registered, and for values that its settings cannot have.
    """
    terms = [_read(term.strip(), plugins) for term in said.split("+")] if said.strip() else []
    out: list[Transform] = []
    found = massive() if massive is not None and any(term.automatic for term in terms) else None
    until = min((int(t.settings["block"]) for t in terms if t.automatic and "block" in t.settings), default=None)
    for term in terms:
        if not term.automatic:
            out.append(term.cls(**term.settings))
        elif found is not None:
            out += term.cls.of_massive(found, until, **term.settings)
    return out


def automatic(said: str, plugins: Plugins) -> list[tuple[str, dict[str, Any]]]:
    """The automatic terms, each with the settings that are said. Errors as those of `made_of`."""
    terms = [_read(term.strip(), plugins) for term in said.split("+")] if said.strip() else []
    return [(term.name, term.settings) for term in terms if term.automatic]


def canonical(said: str, plugins: Plugins) -> str:
    """The same in the one form that identities have. Errors as those of `made_of`."""
    terms = [_read(term.strip(), plugins) for term in said.split("+")] if said.strip() else []
    return "+".join(_written(term.name, term.settings, automatic=term.automatic) for term in terms)


def told(made: Sequence[Transform], plugins: Plugins) -> str:
    """These transforms as they would be said."""
    called = {plugins.transform(name): name for name in plugins.names("transforms")}
    return "+".join(_written(called[type(one)], one.settings, automatic=False) for one in made)


def form(name: str, cls: type[Transform]) -> str:
    """How one is written: `clamp:BLOCK:CHANNEL:LIMIT or clamp:auto`."""
    whole = ":".join((name, *map(str.upper, settings_of(cls))))
    return whole if cls.automatic is None else f"{whole} or {':'.join((name, *map(str.upper, cls.automatic), AUTO))}"


def _written(name: str, settings: Mapping[str, Any], *, automatic: bool) -> str:
    words = (f"{value:.12g}" if isinstance(value, float) else str(value) for value in settings.values())
    return ":".join((name, *words, *((AUTO,) if automatic else ())))


@dataclass(frozen=True)
class _Term:
    """One transform as it is said. settings: all of them, or those that its automatic form has."""

    name: str
    cls: type[Transform]
    settings: dict[str, Any]
    automatic: bool


def _read(term: str, plugins: Plugins) -> _Term:
    name, *values = (word.strip() for word in term.split(":"))
    if name not in plugins.names("transforms"):
        hint = unknown("transform", name, plugins.names("transforms"), see="zobench ls transforms")
        raise ZobenchError(f"transform={term}: {hint}")
    cls = plugins.transform(name)
    by_itself = values[-1:] == [AUTO] and cls.automatic is not None
    declared = settings_of(cls)
    wanted = list(cls.automatic or ()) if by_itself else list(declared)
    values = values[:-1] if by_itself else values
    if len(values) != len(wanted):
        raise ZobenchError(f"transform={term}: write {form(name, cls)}")
    label = f"transform={term}: "
    given = {key: convert(value, declared[key].type, label + key) for key, value in zip(wanted, values, strict=True)}
    return _Term(name, cls, given if by_itself else dict(cls(**given).settings), by_itself)
