"""What an estimator or selector class says of itself: as lines for `zobench show`, as tables for `zobench ls`."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from ..plugins.discovery import describe_fault
from ..plugins.expressions import Composite
from ..plugins.registry import Plugins
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
    "directions": """\
What estimators may look along in the place of their own noise: `--set directions=lozo`, or `mezo:lozo`
([how parts compose](compose.md)). Forwards are what drawing takes beside the
estimator's own, a step; state as above.""",
    "selectors": """\
Forwards are those of selecting at the default settings, in a model of {blocks} decoder blocks, with steps of {step}
forwards and dev evaluations of {dev}. The argument is the setting that a value after a colon is for: `layer:30` is
`layer` with `layer.index=30`.""",
}


UNDECLARED = "not declared"


def facts(cls: Any) -> dict[str, str]:
    """The lines of a card under its name and home: none for a class that is neither estimator nor selector.

    A fact that nobody declared is shown as such; what can be measured in a small world then is.
    """
    if not hasattr(cls, "verified"):
        return {}
    code = cls.public_code if declared(cls, "public_code") else ""
    found = {
        "reference": (cls.reference if declared(cls, "reference") else "") or UNDECLARED,
        "public code": textwrap.fill(code, 96) or UNDECLARED,
        "verified": _SURE[_verdict(cls)],
    }
    if hasattr(cls, "draw"):
        return found | _of_directions(cls)
    return found | (_of_estimator(cls) if hasattr(cls, "forwards_per_step") else _of_selector(cls))


def _of_directions(cls: Any) -> dict[str, str]:
    return {
        "forwards": f"{_beside(cls) or '0 a step'} beside the estimator's own",
        "state": f"{_bytes(cls)} bytes a parameter of the scope, in float32, beside the estimator's",
    }


def _beside(cls: Any) -> str:
    """Forwards that drawing takes; empty where it takes none."""
    counts = {"a step": cls.forwards_per_step, "a direction": cls.forwards_per_direction}
    counts["a step on further batches"] = cls.extra_forwards_per_step
    return " and ".join(f"{count:g} {each}" for each, count in counts.items() if count)


_HOMES = ("zobench.estimator.estimator", "zobench.estimator.families", "zobench.contracts.selector")


def declared(cls: Any, *facts: str) -> bool:
    """Whether someone said one of these of the class: itself, or a base whose algorithm it has unchanged."""
    algorithm = "draw" if hasattr(cls, "draw") else "iterate" if hasattr(cls, "forwards_per_step") else "select"
    for owner in cls.__mro__:
        if owner.__module__ in _HOMES:
            return False
        if any(name in vars(owner) for name in facts):
            return True
        if algorithm in vars(owner):
            return False
    return False


_SURE = {True: "yes: no detail is a guess", False: "no: a detail is a guess, as told below", None: UNDECLARED}


def _verdict(cls: Any) -> bool | None:
    """Whether it is verified, as far as it says so."""
    said: bool | None = cls.verified if declared(cls, "verified") else None
    return said


def _of_estimator(cls: Any) -> dict[str, str]:
    if not cls.trains:
        return {"moves": _moves(cls)}
    forwards, kept = declared(cls, "forwards_per_step"), declared(cls, "state_per_parameter", "state_of")
    extra = cls.extra_forwards_per_step
    further = f"{extra:g} forwards a step on further batches" if extra else "no forwards on further batches"
    unit = "bytes a parameter of the scope, in float32, beside the weights"
    found = {
        "moves": _moves(cls),
        "forwards": f"{_forwards(cls)} a step at the default settings",
        "extra": further,
        "state": f"{_bytes(cls)} {unit}",
        "lr": _grid(cls),
    }
    return found if forwards and kept else found | _measured(cls, forwards=forwards, kept=kept, unit=unit)


def _measured(cls: Any, *, forwards: bool, kept: bool, unit: str) -> dict[str, str]:
    """What was not declared of forwards and state, measured."""
    from ..testing import measured

    try:
        took = measured.estimator(cls)
    except Exception as e:  # the class is a plugin's, which may raise anything
        why = f"{UNDECLARED}, and not measured: {describe_fault(e)}"
        return ({} if forwards else {"forwards": why, "extra": why}) | ({} if kept else {"state": why})
    by = f"{UNDECLARED}; measured in {measured.STEPS} steps of a small MLP:"
    counts = {"forwards": f"{by} {took.forwards:g} a step", "extra": f"{by} {took.extra:g} a step on further batches"}
    return ({} if forwards else counts) | ({} if kept else {"state": f"{by} {took.state:.2g} {unit}"})


def _grid(cls: Any) -> str:
    """The learning rates that a run tries."""
    small = "" if cls.small_lrs == cls.lr_grid else f"; small runs: {_rates(cls.small_lrs)}"
    mine = declared(cls, "lr_grid", "small_lrs")
    return f"{_rates(cls.lr_grid)}{small}" if mine else f"{UNDECLARED}; a run tries {_rates(cls.lr_grid)}{small}"


def _of_selector(cls: Any) -> dict[str, str]:
    if issubclass(cls, Composite):
        return {"forwards": "those of its parts" if cls.of or not cls.alone else "none to select, beside its part's"}
    if declared(cls, "expected_forwards"):
        try:
            told = f"{cls().expected_forwards(BLOCKS, STEP, DEV):,}"
        except Exception as e:  # the class may be a plugin's, which may raise anything
            return {"forwards": f"not told: {describe_fault(e)}"}
        return {"forwards": f"{told} to select, in a model of {BLOCKS} decoder blocks (see docs/methods.md)"}
    from ..testing import measured

    try:
        made = f"{measured.selector(cls)} to select"
    except Exception as e:
        return {"forwards": f"{UNDECLARED}, and not measured: {describe_fault(e)}"}
    return {"forwards": f"{UNDECLARED}; measured in a small LLaMA of {measured.BLOCKS} decoder blocks: {made}"}


def _moves(cls: Any) -> str:
    said = {"full": "weights", "lora": "LoRA", "prefix": "a prefix", "prompt": "a prompt"}
    return said.get(cls.parameterisation, cls.parameterisation) if cls.trains else "nothing"


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
    """The tables of these kinds of methods as Markdown; a page with a heading if there are several."""
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


def verified(cls: Any) -> str:
    """Yes, no, or that nobody said."""
    return {True: "yes", False: "no", None: UNDECLARED}[_verdict(cls)]


def _said(tell: Callable[[Any], str], *facts: str) -> Callable[[Any], str]:
    """`tell` of a class that declares one of these facts."""
    return lambda cls: tell(cls) if declared(cls, *facts) else UNDECLARED


def _with_extra(cls: Any) -> str:
    return _forwards(cls) + (f" + {cls.extra_forwards_per_step:g}" if cls.extra_forwards_per_step else "")


def _to_select(cls: Any) -> str:
    if issubclass(cls, Composite):
        return "0, or its part's" if cls.alone else "its part's"
    return f"{cls().expected_forwards(BLOCKS, STEP, DEV):,}" if declared(cls, "expected_forwards") else UNDECLARED


COLUMNS: dict[str, dict[str, Callable[[Any], str]]] = {
    "estimators": {
        "idea": _idea,
        "reference": _said(lambda cls: cls.reference, "reference"),
        "forwards": _trained(_said(_with_extra, "forwards_per_step")),
        "state": _trained(_said(_bytes, "state_per_parameter", "state_of")),
        "moves": _moves,
        "verified": verified,
        "public code": _said(lambda cls: cls.public_code, "public_code"),
    },
    "directions": {
        "idea": _idea,
        "reference": _said(lambda cls: cls.reference, "reference"),
        "forwards": lambda cls: _beside(cls) and f"+ {_beside(cls)}",
        "state": _bytes,
        "verified": verified,
        "public code": _said(lambda cls: cls.public_code, "public_code"),
    },
    "selectors": {
        "idea": _idea,
        "reference": _said(lambda cls: cls.reference, "reference"),
        "forwards": _to_select,
        "argument": lambda cls: f"`{cls.argument}`" if cls.argument else "",
        "verified": verified,
        "public code": _said(lambda cls: cls.public_code, "public_code"),
    },
}
