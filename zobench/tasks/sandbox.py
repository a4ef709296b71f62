"""The Jinja of task files: bounded in time and size, the same text every time, and unable to change what it is given.

Every turn of a loop, operation, filter and call of one rendering is counted and its result weighed, before it is made
where its size can be told before; so is every list that is written out. So no value is ever larger than the bounds, and
what takes values (a comparison, a text made of a list) ends. What gives another text each time (`random`, addresses of
objects) is refused.
"""

from __future__ import annotations

import contextvars
import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

TURNS = 20_000
"""Turns of loops, operations, filters and calls in one rendering."""
LONGEST = 16 * 2**20
"""Characters of a text, or entries of a list, that a template makes: as long as the longest item."""
MADE = 32 * LONGEST
"""Characters and entries of all that one rendering makes, together."""
WIDEST = 10_000
"""The largest number that a filter or a method takes: a width, a count."""
SECONDS = 10.0
"""The time of one rendering, looked at in every turn: far more than any item needs, however busy the machine is."""

_REFUSED = {"random": "filter", "lipsum": "global", "cycler": "global", "joiner": "global"}


class TooMuch(jinja2.TemplateError):
    """A rendering that is beyond its bounds."""


class _Left:
    def __init__(self) -> None:
        self.turns, self.size, self.made, self.until = TURNS, LONGEST, MADE, time.monotonic() + SECONDS


_left: contextvars.ContextVar[_Left | None] = contextvars.ContextVar("left", default=None)


@contextmanager
def bounded() -> Iterator[None]:
    """One rendering: its counts begin anew."""
    token = _left.set(_Left())
    try:
        yield
    finally:
        _left.reset(token)


def _turn() -> None:
    left = _left.get()
    if left is None:
        return
    left.turns -= 1
    if left.turns < 0:
        raise TooMuch(f"the template takes more than {TURNS:,} turns of loops and operations for one item")
    if time.monotonic() > left.until:
        raise TooMuch(f"the template takes more than {SECONDS:g} s for one item")


def weigh(value: Any, most: int = LONGEST) -> int:
    """The size of a value: characters, and 16 an entry, nested ones as often as they are printed.

    Raises TooMuch beyond `most`.
    """
    if isinstance(value, str | bytes):
        size = len(value)
    elif isinstance(value, Mapping):
        size = 0
        for key, one in value.items():
            size += 16 + weigh(key, most - size) + weigh(one, most - size)
    elif isinstance(value, list | tuple | set | frozenset):
        size = 0
        for one in value:
            size += 16 + weigh(one, most - size)
            if size > most:
                break
    else:
        size = value.bit_length() if isinstance(value, int) else 1
    if size > most:
        raise TooMuch(f"the template makes a text or list of more than {LONGEST:,} characters or entries")
    return size


def _weighed(value: Any) -> Any:
    """A value that was made, if it and all that were made before are together within the bounds."""
    size, left = weigh(value), _left.get()
    if left is not None:
        left.made -= size
        if left.made < 0:
            raise TooMuch(f"the template makes texts and lists of more than {MADE:,} characters and entries in all")
    return value


def _small(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > WIDEST:
            raise TooMuch(f"the number {str(value)[:30]} in a template is beyond {WIDEST:,}")


def _formats(text: Any, given: Iterable[Any]) -> None:
    """The widths in a format, of either kind, are small, and so is it with the longest value in every place."""
    if isinstance(text, str):
        _small(int(digits) for digits in re.findall(r"\d{5,4000}", text) if "%" in text or "{" in text)
        _repeated(max(text.count("%"), text.count("{")), given)


def _repeated(times: int, given: Iterable[Any]) -> None:
    """So many texts, each one of these values or an entry of one, are no more than four of the longest."""
    entries = (
        one.values() if isinstance(one, Mapping) else one if isinstance(one, list | tuple) else [one] for one in given
    )
    if times * max((weigh(each) for one in entries for each in one), default=0) > LONGEST * 4:
        raise TooMuch(f"the template makes a text of more than {LONGEST:,} characters")


def _replaced(text: str, old: str, new: str) -> None:
    if len(text) + text.count(old) * max(0, len(new) - len(old)) > LONGEST:
        raise TooMuch(f"the template makes a text of more than {LONGEST:,} characters")


def _bound(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter, or a method of a text or list, that is counted, with what it takes and gives weighed."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        _check_call(getattr(function, "__name__", ""), getattr(function, "__self__", None), args, options)
        out = function(*args, **options)
        return _weighed(out)

    return call


def _check_call(name: str, owner: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    _turn()
    given = [*args, *options.values()]
    _small(given)
    texts = [one for one in [owner, *given] if isinstance(one, str)]
    if name in ("replace", "do_replace") and len(texts) >= 3:
        _replaced(*texts[:3])
    elif name in ("format", "do_format", "format_map"):
        _formats(texts[0] if texts else "", given if isinstance(owner, str) else given[1:])
    elif name == "translate":
        _repeated(len(texts[0]) if texts else 0, given)
    elif name in ("join", "do_join", "expandtabs", "indent", "do_indent", "wordwrap", "do_wordwrap"):
        if name in ("do_indent", "do_wordwrap"):  # what is put before or between lines may be a text
            _repeated(len(texts[0]) if texts else 0, texts[1:])
        size = max((len(one) for one in texts), default=0)
        entries = max((len(one) for one in [owner, *given] if hasattr(one, "__len__")), default=0)
        width = max((one for one in given if isinstance(one, int)), default=1)
        if name in ("join", "do_join") and size * entries > LONGEST * 4 or entries * width > LONGEST:
            raise TooMuch(f"the template makes a text of more than {LONGEST:,} characters")


def _range(*numbers: int) -> range:
    made = range(*numbers)
    if len(made) > WIDEST:
        raise TooMuch(f"a range of more than {WIDEST:,} numbers")
    return made


@jinja2.pass_context
def _counted(_: Any, values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        _turn()
        yield value


@jinja2.pass_context
def _joined(_: Any, values: list[Any]) -> str:
    _turn()
    weigh(values)
    return str(_weighed("".join(map(str, values))))


@jinja2.pass_context
def _listed(_: Any, value: Any) -> Any:
    _turn()
    return _weighed(value)


def _printed(value: Any) -> Any:
    """What `{{ }}` prints: texts, numbers and lists of them. Anything else would print an address."""
    if isinstance(value, str | int | float | list | tuple | Mapping | jinja2.Undefined) or value is None:
        size, left = weigh(value), _left.get()
        if left is not None:
            left.size -= size
            weigh("", left.size)
        return value
    raise jinja2.TemplateRuntimeError(f"a {type(value).__name__} has no text of its own; make a list or a text of it")


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_printed
        )
        for name in _REFUSED:
            self.filters.pop(name, None), self.globals.pop(name, None)
        self.globals["range"] = _range
        self.filters = {name: _bound(one) for name, one in self.filters.items()}
        self.filters |= {"_counted": _counted, "_joined": _joined, "_listed": _listed}

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operation, if its result is small."""
        _turn()
        if operator == "**":
            _small([right])
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(right, 0) > LONGEST // 64:
                raise TooMuch("a power beyond all bounds in a template")
        elif operator == "%":
            _formats(left, [right])
        elif operator == "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(times, int) and len(one) * times > LONGEST:
                    raise TooMuch(f"the template makes a text or list of more than {LONGEST:,} characters or entries")
        else:
            if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                weigh([left, right])
        out = super().call_binop(context, operator, left, right)
        if isinstance(out, int) and out.bit_length() > LONGEST // 64:
            raise TooMuch("a number beyond all bounds in a template")
        return _weighed(out)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, B902
        """A call in a template, if what it takes and gives is small."""
        method = getattr(__obj, "__wrapped__", __obj)  # Jinja puts a function of its own around a text's `format`
        owner = getattr(method, "__self__", None)
        _check_call(getattr(__obj, "__name__", ""), owner if isinstance(owner, str | list) else None, args, kwargs)
        out = super().call(__context, __obj, *args, **kwargs)
        return _weighed(out)

    def _generate(self, source: nodes.Template, *args: Any, **options: Any) -> str:
        """The code of a template: loops, `~` and lists go through functions that count (a hook of Jinja's for this)."""
        for kind in (nodes.Macro, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends):
            for found in source.find_all(kind):
                raise jinja2.TemplateSyntaxError(f"a {kind.__name__.lower()} has no place here", found.lineno)
        for loop in list(source.find_all(nodes.For)):
            if loop.recursive:
                raise jinja2.TemplateSyntaxError("a recursive loop has no place here", loop.lineno)
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        _join(source)
        return super()._generate(source, *args, **options)


def _join(node: nodes.Node) -> None:
    """Below a node each `a ~ b` becomes `[a, b] | _joined`, and each list, tuple and mapping `[...] | _listed`."""
    for name, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, name, [_joining(one) for one in value])
        elif isinstance(value, nodes.Node):
            setattr(node, name, _joining(value))


def _joining(value: Any) -> Any:
    if not isinstance(value, nodes.Node):
        return value
    _join(value)
    if isinstance(value, nodes.Concat):
        parts = nodes.List(value.nodes, lineno=value.lineno)
        return nodes.Filter(parts, "_joined", [], [], None, None, lineno=value.lineno)
    if isinstance(value, nodes.List | nodes.Dict) or (isinstance(value, nodes.Tuple) and value.ctx == "load"):
        return nodes.Filter(value, "_listed", [], [], None, None, lineno=value.lineno)
    return value
