"""Names that zobench keeps for itself: what no plugin may be called, and what its class may not call its own. Light."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import weakref
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any, ClassVar, get_origin

from .errors import said
from .settings import faulty, settings_of

LONGEST = 64
"""Characters of a name: it stands in the names of files."""

HEADINGS = (
    "method", "selector", "tasks", "parameters", "of model", "layers", "ms per step", "forward", "perturb", "update",
    "speedup", "peak memory", "weights", "state",
)  # fmt: skip
"""Of the board's table of costs, which plugins' columns go into."""

WORDS: Mapping[str, frozenset[str]] = {
    "estimators": frozenset({"all", "none", "auto", "lr", "protocol", "run"}),
    "directions": frozenset({"all", "none", "auto", "lr", "protocol", "run"}),
    "selectors": frozenset({"none", "auto", "lr", "protocol", "run"}),
    "tasks": frozenset({"all", "none"}),
    "executors": frozenset({"all", "none"}),
    "models": frozenset({"none"}),
    "presets": frozenset({"none"}),
    "data_sources": frozenset({"hub", "folder"}),
    "transforms": frozenset({"all", "none", "auto"}),
}
"""Words that mean something else where a name of the kind may stand."""

OURS: Mapping[str, frozenset[str]] = {
    "estimators": frozenset({"check", "setup", "iterate", "state_of", "fit"}),
    "directions": frozenset({"check", "draw", "state_of"}),
    "selectors": frozenset({"check", "select", "expected_forwards"}),
    "transforms": frozenset({"check", "output", "of_massive"}),
}
"""Methods that a class of the kind writes itself."""


def name_fault(kind: str, name: str) -> str:
    """What is wrong with a name of a kind; empty if nothing is."""
    if name in WORDS[kind]:
        return f"{name!r} means something else there; reserved: {', '.join(sorted(WORDS[kind]))}"
    if kind == "selectors" and name.isdecimal():
        return f"{name!r} is a number, which stands for no selector; begin it with a letter"
    if len(name) > LONGEST:
        return f"{name[:20]!r}... has {len(name)} characters; at most {LONGEST} make names of files"
    return ""


_FOUND: MutableMapping[type, str] = weakref.WeakKeyDictionary()


def class_fault(kind: str, cls: type, base: type) -> str:
    """What a class of a plugin calls its own though it is the core's, or declares wrongly, with file and line; else ''.

    base: zobench's Estimator or Selector, whose names are the core's but for facts (its ClassVars) and OURS.
    """
    if cls not in _FOUND:
        _FOUND[cls] = _name_clash(kind, cls, base) or _setting_fault(cls)
    return _FOUND[cls]


def _name_clash(kind: str, cls: type, base: type) -> str:
    facts = facts_of(base)
    for owner in _own(cls, base):
        annotated = inspect.get_annotations(owner)
        for name in dict.fromkeys((*annotated, *vars(owner))):
            wanted = name in OURS[kind] and name in annotated  # a setting where a method is wanted
            if (wanted or name in kept(kind, base)) and not _is_the_cores(owner, name, base):
                what = "a setting" if name in annotated else "a method" if callable(vars(owner).get(name)) else "a name"
                return (
                    f"{what} of {cls.__name__} may not be called {name!r}, which is zobench's own{place(owner, name)}; "
                    f"reserved: {', '.join(shown(kind, base))}"
                )
            if name in facts and name in annotated and not _is_classvar(annotated[name]):
                return (
                    f"{name} of {cls.__name__} is a fact, and declared as a setting{place(owner, name)}: "
                    f"write {name}: ClassVar[...] = ..."
                )
    return ""


def _setting_fault(cls: type) -> str:
    try:
        wrong = {setting.name: text for setting in settings_of(cls).values() if (text := faulty(setting))}
    except Exception as e:  # an annotation is code of the plugin's
        return f"the annotations of {cls.__name__} cannot be read: {type(e).__name__}: {said(e)}{place(cls, '')}"
    for name, text in wrong.items():
        owner = next(c for c in cls.__mro__ if name in inspect.get_annotations(c))
        return f"setting {name} of {cls.__name__}: {text}{place(owner, name)}"
    return ""


def shown(kind: str, base: type) -> list[str]:
    """The reserved names that an author may hit upon, sorted."""
    return sorted(name for name in kept(kind, base) if not name.startswith(_UNLIKELY))


def heading_fault(heading: str) -> str:
    """What is wrong with the heading of a column; empty if nothing is."""
    if " ".join(heading.split()).casefold() in HEADINGS:
        return f"{heading!r} is a column of the board already; taken: {', '.join(HEADINGS)}"
    if not heading.strip() or not heading.isprintable():
        return f"{heading!r} is no heading: write a word or a few, on one line"
    return ""


@functools.cache
def kept(kind: str, base: type) -> frozenset[str]:
    """The names of attributes that the core keeps on things of a kind: methods, arguments of construction, state."""
    arguments = {p.name for p in inspect.signature(base).parameters.values() if p.name not in ("args", "kwargs")}
    state = {name for c in base.__mro__ for name in inspect.get_annotations(c)} - facts_of(base)
    members = {name for name in dir(base) if not name.startswith("__")} - facts_of(base)
    return frozenset(members | arguments | state | _UNDECLARED[kind]) - OURS[kind]


_UNLIKELY = ("_", "register_", "profile_", "Optimizer")  # the core's, torch's hooks: nobody calls a setting so

_UNDECLARED: Mapping[str, frozenset[str]] = {
    "estimators": frozenset({"defaults", "state"}),  # torch.optim.Optimizer makes them, without saying so
    "directions": frozenset(),
    "selectors": frozenset({"of", "parts", "chosen"}),  # of selectors made of selectors
    "transforms": frozenset({"settings"}),
}


@functools.cache
def facts_of(base: type) -> frozenset[str]:
    """The facts that a class may declare of itself: ClassVars of the base."""
    return frozenset(name for name, kind in inspect.get_annotations(base).items() if _is_classvar(kind))


def _is_classvar(annotation: Any) -> bool:
    if isinstance(annotation, str):
        return annotation.split("[")[0].rpartition(".")[2] == "ClassVar"
    return annotation is ClassVar or get_origin(annotation) is ClassVar


def _own(cls: type, base: type) -> Iterator[type]:
    """The classes of `cls` that are not the core's, nor made by it of expressions of selectors."""
    theirs = (c for c in cls.__mro__ if c not in base.__mro__ and not c.__module__.startswith("zobench."))
    return (c for c in theirs if "__composed__" not in vars(c))


def _is_the_cores(owner: type, name: str, base: type) -> bool:
    """Whether it is the core's method after all: torch puts a wrapped `step` on every class of optimizers."""
    mine, theirs = vars(owner).get(name), getattr(base, name, None)
    return callable(mine) and callable(theirs) and inspect.unwrap(mine) is inspect.unwrap(theirs)


def place(cls: type, name: str) -> str:
    """` (file.py:12)`, where a class gives a value to a name, or begins; empty where there is no source to read."""
    try:
        lines, first = inspect.getsourcelines(cls)
        file = Path(inspect.getsourcefile(cls) or "?").name
        node = ast.parse(textwrap.dedent("".join(lines))).body[0]
    except (OSError, TypeError, SyntaxError):
        return ""
    return f" ({file}:{first + (_line(node, name) or 1) - 1})"


def _line(node: ast.AST, name: str) -> int | None:
    for item in getattr(node, "body", ()):
        targets = getattr(item, "targets", None) or [getattr(item, "target", None)]
        names = {getattr(item, "name", None), *(getattr(target, "id", None) for target in targets)}
        if name in names:
            return int(item.lineno)
    return None
