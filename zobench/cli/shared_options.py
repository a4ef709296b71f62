"""Options that several commands have: declared once, as a dataclass, and taken by a command as one argument."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def shares(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of each dataclass that it takes standing where that argument stands.

        @dataclass
        class LookOptions:
            seed: Annotated[int, typer.Option(help="...")] = 0

        @shares
        def show(look: LookOptions, deep: Annotated[bool, typer.Option()] = False) -> None: ...

    Typer, and who calls it, see show(seed=..., deep=...).
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[Any, list[str]]] = {}
    seen: list[inspect.Parameter] = []
    for name, own in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not dataclasses.is_dataclass(kind):
            seen.append(own.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        options = _options(kind)
        groups[name] = (kind, [one.name for one in options])
        seen += options

    @functools.wraps(command)
    def called(**given: Any) -> None:
        made = {}
        for name, (kind, fields) in groups.items():
            made[name] = kind(**{field: given.pop(field) for field in fields if field in given})
        command(**made, **given)

    called.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in seen} | {"return": None}
    return called


def _options(kind: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]
