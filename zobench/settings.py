"""Typed settings: the annotations of a class are its settings, with defaults, ranges and conversion from text.

    class MeZO(Estimator):
        eps: Positive = 1e-3          # a setting: --set eps=1e-2 or --set mezo.eps=1e-2

A setting is any public annotated class attribute with a default, on the class or one of its bases.
Supported types: bool, int, float, str, Literal, tuple[X, ...], X | None, and Annotated of those with a Range.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints
from weakref import WeakKeyDictionary

from .errors import ZobenchError, unknown


@dataclass(frozen=True)
class Range:
    """The values a number may have; a bound that is None does not bind."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def holds(self, x: float) -> bool:
        """Whether `x` is within all bounds."""
        return (
            (self.ge is None or x >= self.ge)
            and (self.gt is None or x > self.gt)
            and (self.le is None or x <= self.le)
            and (self.lt is None or x < self.lt)
        )

    def __str__(self) -> str:
        signs = (("at least", self.ge), ("above", self.gt), ("at most", self.le), ("below", self.lt))
        return " and ".join(f"{word} {bound:.12g}" for word, bound in signs if bound is not None)


Positive = Annotated[float, Range(gt=0)]
"""A number above 0."""

NonNegative = Annotated[float, Range(ge=0)]
"""A number of at least 0."""

Fraction = Annotated[float, Range(ge=0, le=1)]
"""A number from 0 to 1, both included."""

Count = Annotated[int, Range(ge=1)]
"""A whole number of at least 1."""

Natural = Annotated[int, Range(ge=0)]
"""A whole number of at least 0."""


@dataclass(frozen=True)
class Setting:
    """One declared setting: its name, its type as annotated, its default."""

    name: str
    type: Any
    default: Any

    def describe_type(self) -> str:
        """Its type and range in words."""
        return describe(self.type)


def settings_of(cls: type) -> dict[str, Setting]:
    """The settings a class declares, its bases' first. Names with a leading underscore and ClassVars are none."""
    found: dict[str, Setting] = {}
    for base in reversed(cls.__mro__):
        own = base.__dict__.get("__annotations__", {})
        if base.__module__.partition(".")[0] in ("builtins", "torch", "typing"):
            continue
        hints = _hints(base) if own else {}
        for name in own:
            if name.startswith("_") or get_origin(hints[name]) is ClassVar or hints[name] is ClassVar:
                continue
            if hasattr(base, name):
                found[name] = Setting(name, hints[name], getattr(cls, name))
    return found


_HINTS: WeakKeyDictionary[type, dict[str, Any]] = WeakKeyDictionary()


def _hints(cls: type) -> dict[str, Any]:
    """Annotations of a class and its bases as types, made once: their text is compiled, a millisecond a class."""
    if cls not in _HINTS:
        _HINTS[cls] = get_type_hints(cls, include_extras=True)
    return _HINTS[cls]


def faulty(setting: Setting) -> str:
    """What is wrong with a setting as it is declared: a type that no text is read as, a default that is not of it."""
    try:
        convert(setting.default, setting.type, setting.name)
    except ZobenchError as e:
        return f"its own default does not fit: {e}"
    except TypeError:
        pass
    else:
        if _readable(setting.type):
            return ""
    return f"nothing can be set that is {describe(setting.type)}; types: bool, int, float, str, Literal, tuple[X, ...]"


def _readable(to: Any) -> bool:
    """Whether `convert` knows the type, whatever the value."""
    origin, args = get_origin(to), get_args(to)
    if origin is Annotated:
        return _readable(args[0])
    if origin in (types.UnionType, typing.Union):
        return all(a is type(None) or _readable(a) for a in args)
    if origin is tuple:
        return len(args) == 2 and args[1] is Ellipsis and _readable(args[0])
    return origin is Literal or to in (bool, int, float, str)


def resolve(cls: type, given: Mapping[str, object], *, owner: str | None = None) -> dict[str, Any]:
    """All settings of `cls` with `given` values converted and checked; defaults for the rest.

    Raises ZobenchError for a name that is not a setting (with the nearest names), a value that cannot be
    read as the setting's type, or one out of its range.
    """
    declared, label = settings_of(cls), owner or cls.__name__
    for name in given:
        if name not in declared:
            raise ZobenchError(unknown(f"setting of {label}", name, declared))
    out = {name: setting.default for name, setting in declared.items()}
    for name, value in given.items():
        out[name] = convert(value, declared[name].type, f"{label}.{name}")
    return out


def convert(value: object, to: Any, label: str) -> Any:
    """`value` (often text from the command line) as type `to`; ZobenchError naming `label` if it is none.

    Of numbers, nan is none, and neither is a whole one of more than 63 bits; one with a range is finite.
    """
    origin, args = get_origin(to), get_args(to)
    if origin is Annotated:
        out = _plain(value, args[0], label) if args[0] in (float, int) else convert(value, args[0], label)
        for r in args[1:]:
            if isinstance(r, Range) and out is not None and not r.holds(out):
                raise ZobenchError(f"{label}={value}: must be {r}")
            if isinstance(r, Range) and isinstance(out, float) and math.isinf(out):
                raise ZobenchError(f"{label}={value}: must be finite")
        return _held(out, label)
    if to is int:
        return _held(_plain(value, to, label), label)
    if to is float and math.isnan(_plain(value, to, label)):
        raise ZobenchError(f"{label}={value}: not {describe(to)}")
    if origin in (types.UnionType, typing.Union):
        return _union(value, args, label)
    if origin is Literal:
        for choice in args:
            if value == choice or str(value) == str(choice):
                return choice
        raise ZobenchError(f"{label}={value}: " + unknown("choice", str(value), map(str, args)))
    if origin is tuple:
        parts = [x for x in value.split(",") if x != ""] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            parts = (parts,)
        return tuple(convert(x.strip() if isinstance(x, str) else x, args[0], label) for x in parts)
    return _plain(value, to, label)


def _held(value: Any, label: str) -> Any:
    """The value. ZobenchError for a whole number that no tensor, seed or counter holds."""
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ZobenchError(f"{label}={value}: must be below 2^63")
    return value


def _union(value: object, args: tuple[Any, ...], label: str) -> Any:
    if type(None) in args and (value is None or (isinstance(value, str) and value.lower() in ("none", "null", ""))):
        return None
    kinds = [a for a in args if a is not type(None)]
    failures: list[ZobenchError] = []
    for kind in kinds:
        try:
            return convert(value, kind, label)
        except ZobenchError as e:
            failures.append(e)
    raise failures[-1]


_BOOLS = {**dict.fromkeys(("true", "1", "yes", "on"), True), **dict.fromkeys(("false", "0", "no", "off"), False)}


def _plain(value: object, to: Any, label: str) -> Any:
    fault = ZobenchError(f"{label}={value}: not {describe(to)}")
    if to is bool:
        if str(value).lower() in _BOOLS:
            return _BOOLS[str(value).lower()]
        raise fault
    if isinstance(value, bool):
        raise fault
    try:
        if to is int:
            number = int(value) if isinstance(value, str) else value
            if not isinstance(number, int):
                raise fault
            return number
        if to is float:
            return float(typing.cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        raise fault from None
    if to is str:
        return str(value)
    raise TypeError(f"{label}: settings cannot be of type {to!r}")


def describe(to: Any) -> str:
    """A type in words, for help texts and errors."""
    origin, args = get_origin(to), get_args(to)
    if origin is Annotated:
        bounds = [str(r) for r in args[1:] if isinstance(r, Range)]
        return " ".join([describe(args[0]), *bounds])
    if origin in (types.UnionType, typing.Union):
        return " or ".join("none" if a is type(None) else describe(a) for a in args)
    if origin is Literal:
        return "one of " + "|".join(map(str, args))
    if origin is tuple:
        return f"comma-separated, each {describe(args[0])}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}.get(to, str(to))
