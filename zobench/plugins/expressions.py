"""Selectors written as expressions: `first_outlier+layer:30`, `all_but:first_outlier`.

    expression = term ("+" term)...         what any of the terms chooses
    term       = name                       a registered selector
               | name ":" value             its `argument` setting has that value
               | name ":" term              a selector of selectors, of that one

Wherever a selector is named, an expression may stand. It becomes a class like any other: its settings are those of its
parts under their own names (`first_outlier.ratio`), so that records hold all of them. Light: imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..contracts.selector import SelectionContext, Selector
from ..errors import ZobenchError, unknown
from ..settings import convert, settings_of

if TYPE_CHECKING:
    from ..scopes.scope import Scope

EXAMPLE = "first_outlier+layer:30"


@dataclass(frozen=True)
class Term:
    """One term of an expression: a selector's name and the text after its colon."""

    name: str
    value: str | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"


@dataclass(frozen=True)
class Part:
    """A selector inside another one: its text, and its class with the value after the colon as a default."""

    label: str
    cls: type[Selector]


@dataclass(frozen=True)
class Address:
    """A setting of a selector as `--set` may name it: by these prefixes, or by none."""

    prefixes: frozenset[str]
    name: str
    key: str
    """The setting of the whole: `first_outlier.ratio` for the ratio of a part."""
    fixed: bool
    """The expression itself gives the value."""


class Composite(Selector):
    """Base of selectors made of other selectors: `parts` are those, ready to select in a context of their own.

    A subclass that is registered takes one selector after a colon (`all_but:first_outlier`). Facts that a part notes
    stand in the record under its text. One that is something without another selector, too, says so by `alone`.
    """

    of: ClassVar[tuple[Part, ...]] = ()
    alone: ClassVar[bool] = False

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        if not (self.of or self.alone):
            raise ZobenchError(f"{type(self).__name__} is made of another selector; name it after a colon")
        self.parts: tuple[Selector, ...] = tuple(part.cls(**_own(self.settings, part)) for part in self.of)

    def chosen(self, context: SelectionContext) -> list[Scope]:
        """The scopes that the parts choose, in order."""
        each = zip(self.of, self.parts, strict=True)
        return [part.select(cast(SelectionContext, _Inside(context, said.label))) for said, part in each]

    def check(self, blocks: int) -> None:
        """Those of its parts."""
        for part in self.parts:
            part.check(blocks)

    def expected_forwards(self, blocks: int, step: int, dev: int) -> int:
        """Those of its parts together."""
        return sum(part.expected_forwards(blocks, step, dev) for part in self.parts)


class Sum(Composite):
    """What any of several selectors chooses."""

    def select(self, context: SelectionContext) -> Scope:
        """The union of the parts' scopes, entry by entry and step by step."""
        from ..scopes.combine import union

        return union(context.everything(), self.chosen(context))


class _Inside:
    """A context for a part: the facts it notes are kept apart from those of other parts."""

    def __init__(self, context: SelectionContext, label: str) -> None:
        self._context, self._label, self._facts = context, label, dict[str, Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def note(self, **facts: Any) -> None:
        self._facts.update(facts)
        self._context.note(**{self._label: dict(self._facts)})


def is_expression(text: str) -> bool:
    """Whether the text is more than a selector's name."""
    return "+" in text or ":" in text


def names(text: str) -> tuple[str, ...]:
    """The names at the heads of an expression's terms."""
    return tuple(_term(part, text).name for part in text.split("+"))


def canonical(text: str, known: Iterable[str]) -> str:
    """The expression without spaces, its terms sorted, so that equal sums have one name.

    Raises ZobenchError for a missing or repeated term, and for a name that is not among `known`.
    """
    terms = [_term(part, text) for part in text.split("+")]
    for term in terms:
        _check_names(term, list(known))
    texts = [str(term) for term in terms]
    twice = next((t for t in texts if texts.count(t) > 1), None)
    if twice is not None:
        raise ZobenchError(f"selector {text}: {twice} stands in the sum twice; leave one out")
    return "+".join(sorted(texts))


def build(text: str, find: Callable[[str], type[Selector]]) -> type[Selector]:
    """The class that an expression means; `find` gives the registered class of a name.

    Raises ZobenchError for what `find` does not know, a value that its selector does not take or cannot read, and a
    selector of selectors that is given none.
    """
    terms = [_term(part, text) for part in text.split("+")]
    if len(terms) == 1:
        return _class_of(terms[0], find)
    parts = tuple(Part(str(term), _class_of(term, find)) for term in terms)
    return _composed(Sum, text, parts, f"{Sum.__doc__} Here: {', '.join(part.label for part in parts)}.")


def check_whole(name: str, cls: type[Selector]) -> None:
    """ZobenchError for a selector of selectors that was given none."""
    if issubclass(cls, Composite) and not (cls.of or cls.alone):
        raise ZobenchError(f"selector {name} is made of another one; write {name}:first_outlier")


def addresses(cls: type[Selector], name: str) -> Iterator[Address]:
    """The settings of the selector called `name`, its parts' too, as `--set` may name them."""
    yield from _addresses(cls, name, "", frozenset({name}))


def _addresses(cls: type[Selector], name: str, path: str, prefixes: frozenset[str]) -> Iterator[Address]:
    if issubclass(cls, Composite):
        for part in cls.of:
            inner = prefixes | {part.label, part.label.partition(":")[0]}
            yield from _addresses(part.cls, part.label, f"{path}{part.label}.", inner)
    fixed = _FIXED.get(cls)
    for setting in own_settings(cls):
        yield Address(prefixes | {name.partition(":")[0]}, setting, f"{path}{setting}", setting == fixed)


def own_settings(cls: type[Selector]) -> list[str]:
    """The settings of a selector but for those of its parts."""
    parts = [f"{part.label}." for part in cls.of] if issubclass(cls, Composite) else []
    return [name for name in settings_of(cls) if not any(name.startswith(part) for part in parts)]


def _term(text: str, whole: str) -> Term:
    name, colon, value = text.strip().partition(":")
    name, value = name.strip(), value.strip()
    if not name or (colon and not value):
        lacks = "a term" if not name else f"the value after {name}:"
        raise ZobenchError(f"selector {whole.strip()!r}: {lacks} is missing; write for example {EXAMPLE}")
    return Term(name, value if colon else None)


def _check_names(term: Term, known: list[str]) -> None:
    """ZobenchError for a name nobody registered; also one after a colon, where it must be a name to make sense."""
    if term.name in known:
        return
    hint = unknown("selector", term.name, known, see="zobench ls selectors")
    if term.name.isdecimal():
        hint += "; decoder blocks are written layer:1+layer:30, or --selector layer --set layer.index=1,30"
    raise ZobenchError(hint)


def _class_of(term: Term, find: Callable[[str], type[Selector]]) -> type[Selector]:
    cls = find(term.name)
    if issubclass(cls, Composite):
        if term.value is None:
            check_whole(term.name, cls)
            return cls
        inner = _term(term.value, str(term))
        part = Part(str(inner), _class_of(inner, find))
        return _composed(cls, str(term), (part,), f"{cls.__doc__}\n\nHere of {part.label}.")
    if term.value is None:
        return cls
    if not cls.argument:
        first = next(iter(settings_of(cls)), None)
        mend = f"set its settings with --set {term.name}.{first}=..." if first else "it has no settings"
        raise ZobenchError(f"selector {term}: {term.name} takes no value after a colon; {mend}")
    setting = settings_of(cls)[cls.argument]
    value = convert(term.value, setting.type, f"selector {term}: {cls.argument}")
    made = type(cls.__name__, (cls,), {"__doc__": cls.__doc__, "__module__": cls.__module__, cls.argument: value})
    _FIXED[made] = cls.argument
    return made


_FIXED: dict[type, str] = {}
"""The setting whose value a class has from its expression."""


def _composed(base: type[Composite], text: str, parts: tuple[Part, ...], doc: str) -> type[Selector]:
    """A subclass of `base` of these parts, which declares their settings as its own."""
    space: dict[str, Any] = {"__doc__": doc, "__module__": base.__module__, "of": parts, "__composed__": True}
    said = {True if base is Sum else base.verified, *(part.cls.verified for part in parts)}
    space["verified"] = next(one for one in (False, None, True) if one in said)  # the sum is as sure as the least sure
    space["numerics"] = base.numerics + sum(part.cls.numerics - 1 for part in parts)
    space["turns"] = base.turns or any(part.cls.turns for part in parts)
    declared = {f"{part.label}.{key}": setting for part in parts for key, setting in settings_of(part.cls).items()}
    space["__annotations__"] = {key: setting.type for key, setting in declared.items()}
    space.update((key, setting.default) for key, setting in declared.items())
    return type(base.__name__, (base,), space)


def _own(settings: Mapping[str, Any], part: Part) -> dict[str, Any]:
    """The settings of a part, under its own names."""
    return {name: settings[f"{part.label}.{name}"] for name in settings_of(part.cls)}
