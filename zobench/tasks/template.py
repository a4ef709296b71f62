"""Templates of task files: Jinja in a sandbox that cannot change what it is given, with four filters of our own.

Two forms: a text with `{{ ... }}` (prompt, text), and a bare expression that gives a value (candidates, answer).
A name that an item does not have is an error, never an empty text. Light: imports no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from jinja2 import meta

from ..errors import ZobenchError, unknown
from .sandbox import Sandbox, TooMuch, bounded


def ensure_end(text: str, mark: str) -> str:
    """`text`, with `mark` after it unless it ends so."""
    return text if text.endswith(mark) else text + mark


def drop_end(text: str, mark: str) -> str:
    """`text` without one `mark` at its end, if it has one."""
    return text.removesuffix(mark)


def upper_first(text: str) -> str:
    """`text` with its first character in upper case; the others stay."""
    return text[:1].upper() + text[1:]


def lower_first_word(text: str) -> str:
    """`text` with all of its first word (up to the first space) in lower case, unless that word is exactly "I"."""
    first, space, rest = text.partition(" ")
    return (first if first == "I" else first.lower()) + space + rest


FILTERS: dict[str, Callable[..., str]] = {
    "ensure_end": ensure_end,
    "drop_end": drop_end,
    "upper_first": upper_first,
    "lower_first_word": lower_first_word,
}


LONGEST = 64 * 2**10
"""Characters of a template."""


@functools.cache
def _environment() -> Sandbox:
    env = Sandbox()
    env.filters.update(FILTERS)
    return env


class Template:
    """A compiled template of a task. `where` ("task sst2: template.prompt") stands at the head of its errors.

    Raises ZobenchError for a template that does not parse, that names an unknown filter, or that uses a variable
    other than those in `names`.
    """

    def __init__(self, source: str, where: str, names: frozenset[str], *, expression: bool = False) -> None:
        self.where, env = where, _environment()
        if len(source) > LONGEST:
            raise ZobenchError(f"{where}: {len(source):,} characters; a template has at most {LONGEST:,}")
        try:
            tree = env.parse("{{ (" + source + ") }}" if expression else source)
            for name in sorted(meta.find_undeclared_variables(tree) - names - set(env.globals)):
                raise ZobenchError(f"{where}: " + unknown("field", name, names, see="the task file's source.fields"))
            if expression:
                evaluate = env.compile_expression(source, undefined_to_none=False)
                self._run: Callable[[dict[str, Any]], Any] = lambda values: evaluate(**values)
            else:
                self._run = env.from_string(source).render
        except jinja2.TemplateSyntaxError as e:
            raise ZobenchError(f"{where}: not a valid template: {e.message} (line {e.lineno})") from None
        except (ValueError, SyntaxError, RecursionError, MemoryError, TooMuch) as e:  # numbers or brackets without end
            raise ZobenchError(f"{where}: not a valid template: {e}") from None

    def __call__(self, values: Mapping[str, Any], item: str) -> Any:
        """The text, or the expression's value, for one item; ZobenchError naming template and item if there is none."""
        try:
            with bounded():
                out = self._run(dict(values))
            if isinstance(out, jinja2.Undefined):
                raise jinja2.UndefinedError("the expression's value is undefined")
            return out
        except (
            jinja2.TemplateError,
            ArithmeticError,
            AssertionError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ) as e:
            fields = ", ".join(sorted(values))
            raise ZobenchError(f"{self.where}: {item}: {e}; the item has the fields {fields}") from None
        except (RecursionError, MemoryError):
            raise ZobenchError(f"{self.where}: {item}: nested too deeply, or too large") from None


@functools.lru_cache(maxsize=1024)
def template(source: str, where: str, names: frozenset[str], expression: bool = False) -> Template:
    """The compiled template; compiled once in a process, so that tasks stay plain data that can be pickled."""
    return Template(source, where, names, expression=expression)
