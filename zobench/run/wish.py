"""What the user asked for, and the names that its words stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import ZobenchError, unknown
from ..plugins import along, expressions


@dataclass(frozen=True)
class Wish:
    """What the user asked for, as names and text."""

    estimators: tuple[str, ...]
    selectors: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    preset: str = ""  # the usual one
    lrs: tuple[float, ...] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    tune_seeds: tuple[int, ...] = ()  # choose learning rates, and are not reported
    split_seeds: tuple[int, ...] = ()  # values of data_seed: every cell on each split; none: the protocol's one


def expand(names: Sequence[str], known: Sequence[str], kind: str, families: Sequence[str] = ()) -> tuple[str, ...]:
    """Names as given, each once; `all` for every known one, unless one is called so (the selector `all`).

    Selectors may be expressions (see zobench.plugins.expressions), estimators along directions of `families` (see
    zobench.plugins.along): they get their canonical form. Raises ZobenchError for an unknown one.
    """
    out: list[str] = []
    for name in names:
        if kind == "estimator" and along.is_expression(name):
            out.append(along.canonical(name, known, families))
        elif kind == "selector" and (expressions.is_expression(name) or name.isdecimal()):
            out.append(expressions.canonical(name, known))
        elif name in known:
            out.append(name)
        elif name == "all":
            out += known
        else:
            raise ZobenchError(unknown(kind, name, known, see=f"zobench ls {kind}s"))
    return tuple(dict.fromkeys(out))
