"""What an estimator or selector class says of itself: as lines for `zobench show`, as tables for `zobench ls`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ..compose import Composite
from ..plugins import Plugins
from ..settings import resolve

SIDE = 4096
"""Rows and columns of the matrix that state is told for where it depends on shapes: those of a 7B model."""
BLOCKS, STEP, DEV = 32, 2, 63
"""What the forwards of selectors are told for: a 7B model's blocks, MeZO's steps, 500 dev items in batches of 8."""

COMMAND = "ZOBENCH_PLUGINS= zobench ls --markdown > docs/methods.md"

INTRO = {
    "estimators": """\
Forwards are those of a step at the default settings; "+" are those on further batches, on average. State is what is
kept between steps beside the weights, in bytes a parameter of the scope, in float32 (where a method keeps it on some
tensors only: on those); where it depends on the shape: of a {side} x {side} matrix, and of a vector. Moves: whole
weights or adapters. A method that is not verified has a detail that is a guess; its card says which.""",
    "selectors": """\
Forwards are those of selecting at the default settings, in a model of {blocks} decoder blocks, with steps of {step}
forwards and dev evaluations of {dev}. The argument is the setting that a value after a colon is for: `layer:30` is
`layer` with `layer.index=30`.""",
}


def facts(cls: Any) -> dict[str, str]:
    """The lines of a card under its name and home: none for a class that is neither estimator nor selector."""
    found = {"reference": cls.reference} if getattr(cls, "reference", "") else {}
    if getattr(cls, "public_code", ""):
        found["public code"] = textwrap.fill(cls.public_code, 96)
    if getattr(cls, "verified", True) is False:
        found["verified"] = "no: a detail is a guess, as told below"
    elif found:
        found["verified"] = "yes: no detail is a guess"
    if hasattr(cls, "forwards_per_step"):
        found |= _of_estimator(cls)
    return found


def _of_estimator(cls: Any) -> dict[str, str]:
    if not cls.trains:
        return {"moves": _moves(cls)}
    extra = cls.extra_forwards_per_step
    state = _bytes(cls)
    small = "" if cls.small_lrs == cls.lr_grid else f"; small runs: {_rates(cls.small_lrs)}"
    return {
        "moves": _moves(cls),
        "forwards": f"{_forwards(cls)} a step at the default settings",
        "extra": f"{extra:g} forwards a step on further batches" if extra else "no forwards on further batches",
        "state": f"{state} bytes a parameter of the scope, in float32, beside the weights",
        "lr": f"{_rates(cls.lr_grid)}{small}",
    }


def _moves(cls: Any) -> str:
    return (
        {"full": "weights", "lora": "LoRA", "prefix": "a prefix"}.get(cls.parameterisation, cls.parameterisation)
        if cls.trains
        else "nothing"
    )


def _forwards(cls: Any) -> str:
    return "varies" if cls.forwards_per_step is None else str(cls.forwards_per_step)


def _rates(rates: Sequence[float]) -> str:
    return ", ".join(re.sub(r"e-0", "e-", f"{rate:g}") for rate in rates)


def _bytes(cls: Any) -> str:
    """State in bytes a parameter, at the default settings."""
    one = cls.__new__(cls)  # its shapes and settings are asked for, so it needs no scope
    for name, value in resolve(cls, {}).items():
        setattr(one, name, value)
    matrix, vector = 4 * one.state_of((SIDE, SIDE)) / SIDE**2, 4 * one.state_of((SIDE,)) / SIDE
    return f"{matrix:.2g}" if matrix == vector else f"{matrix:.2g}; vectors {vector:.2g}"


def page(found: Plugins, kinds: Sequence[str]) -> str:
    """The tables of these kinds, `estimators` and `selectors`, as Markdown; a page with a heading if there are both."""
    parts = []
    if len(kinds) > 1:
        parts.append(f"# Methods\n\nMade by `{COMMAND}`. `zobench show estimator NAME` has the card of each.")
    for kind in kinds:
        said = INTRO[kind].format(side=SIDE, blocks=BLOCKS, step=STEP, dev=DEV)
        classes = {name: found.get(kind, name) for name in found.names(kind)}
        parts.append(f"## {kind.capitalize()}\n\n{said}\n\n{_table(COLUMNS[kind], classes)}")
    return "\n\n".join(parts)


def _table(columns: dict[str, Callable[[Any], str]], classes: dict[str, Any]) -> str:
    lines = ["| name | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, cls in classes.items():
        lines.append(" | ".join([f"| `{name}`", *(_cell(tell(cls)) for tell in columns.values())]) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that may stand in a table, with links to arXiv."""
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[\g<0>](https://arxiv.org/abs/\1)", text.replace("|", r"\|")) or "-"


def _idea(cls: Any) -> str:
    return (inspect.getdoc(cls) or "").partition("\n")[0]


def _trained(tell: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda cls: tell(cls) if cls.trains else ""


def _verified(cls: Any) -> str:
    return "yes" if cls.verified else "no"


def _with_extra(cls: Any) -> str:
    return _forwards(cls) + (f" + {cls.extra_forwards_per_step:g}" if cls.extra_forwards_per_step else "")


def _to_select(cls: Any) -> str:
    return "its part's" if issubclass(cls, Composite) else f"{cls().expected_forwards(BLOCKS, STEP, DEV):,}"


COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "estimators": {
        "idea": _idea,
        "reference": lambda cls: cls.reference,
        "forwards": _trained(_with_extra),
        "state": _trained(_bytes),
        "moves": _moves,
        "verified": _verified,
        "public code": lambda cls: cls.public_code,
    },
    "selectors": {
        "idea": _idea,
        "reference": lambda cls: cls.reference,
        "forwards": _to_select,
        "argument": lambda cls: f"`{cls.argument}`" if cls.argument else "",
        "verified": _verified,
        "public code": lambda cls: cls.public_code,
    },
}
