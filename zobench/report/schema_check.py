"""Whether a value has the shape that a TypedDict of record.py declares: the contract stays in that one place.

Keys that are not declared are let be: a later zobench of the same schema may have added them.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Iterator
from typing import Any, Literal, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict


@functools.cache
def _fields(declared: Any) -> dict[str, tuple[Any, bool]]:
    """Key -> (its type, whether it must be there)."""
    # Read from the hints: under postponed annotations `__required_keys__` does not know of NotRequired.
    hints = get_type_hints(declared, include_extras=True)
    return {
        key: (get_args(hint)[0], False) if get_origin(hint) is NotRequired else (hint, True)
        for key, hint in hints.items()
    }


def faults(value: object, declared: Any, where: str = "", *, nulls: bool = False) -> Iterator[str]:
    """What is wrong with `value`, one phrase a fault: `metrics.test.n: missing`, `cell.seed: a str, not int`.

    With `nulls`, null may stand for any float: numbers that were not finite, in a record that says it failed.
    """
    if declared is Any:
        return
    if is_typeddict(declared):
        yield from _object_faults(value, declared, where, nulls)
        return
    origin, args = get_origin(declared), get_args(declared)
    if origin is Literal:
        if value not in args:
            yield f"{_at(where)}{value!r:.40} is none of {', '.join(map(str, args))}"
    elif origin in (Union, types.UnionType):
        if all(any(faults(value, one, where, nulls=nulls)) for one in args):
            yield f"{_at(where)}{_kind(value)} is not {' or '.join(map(_type_name, args))}"
    elif origin in (list, tuple):
        yield from _array_faults(value, origin, args, where, nulls)
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{_at(where)}{_kind(value)} is not an object"
        else:
            for key, one in value.items():
                yield from faults(one, args[1], _join(where, key), nulls=nulls)
    elif not _is(value, declared, nulls):
        yield f"{_at(where)}{_kind(value)} is not {_type_name(declared)}"


def _object_faults(value: object, declared: Any, where: str, nulls: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{_at(where)}{_kind(value)} is not an object"
        return
    for key, (hint, required) in _fields(declared).items():
        if key in value:
            yield from faults(value[key], hint, _join(where, key), nulls=nulls)
        elif required:
            yield f"{_join(where, key)} is missing"


def _array_faults(value: object, origin: Any, args: tuple[Any, ...], where: str, nulls: bool) -> Iterator[str]:
    if not isinstance(value, list | tuple):
        yield f"{_at(where)}{_kind(value)} is not a list"
        return
    fixed = origin is tuple and not (len(args) == 2 and args[1] is Ellipsis)
    if fixed and len(value) != len(args):
        yield f"{_at(where)}{len(value)} items, not {len(args)}"
        return
    if not fixed and _all_plain(value, args[0]):
        return
    for i, one in enumerate(value):
        yield from faults(one, args[i] if fixed else args[0], f"{where}[{i}]", nulls=nulls)


_PLAIN: dict[Any, frozenset[type]] = {float: frozenset({float, int}), int: frozenset({int}), str: frozenset({str})}


def _all_plain(value: list[Any] | tuple[Any, ...], declared: Any) -> bool:
    """Whether all items are of a plain type: the long lists of a record, told without a look at each in turn."""
    if declared not in _PLAIN or not _PLAIN[declared].issuperset(map(type, value)):
        return False
    try:
        return declared is not float or all(map(math.isfinite, value))
    except OverflowError:
        return False


def _finite(value: float) -> bool:
    """Whether it is a number that a float can hold: 1e999 and an integer of a thousand digits are not."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is(value: object, declared: Any, nulls: bool) -> bool:
    if declared is float:  # JSON has one kind of number, and 1e999 is none of them
        number = isinstance(value, int | float) and not isinstance(value, bool) and _finite(value)
        return number or (nulls and value is None)
    if declared is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if declared is type(None):
        return value is None
    return isinstance(value, declared)


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where else str(key)


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _kind(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    return "null" if value is None else f"{type(value).__name__} {value!r:.40}"


def _type_name(declared: Any) -> str:
    return "null" if declared is type(None) else str(getattr(declared, "__name__", declared))
