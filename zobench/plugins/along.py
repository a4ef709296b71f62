"""Estimators along directions of a family, and methods around others: `mezo:lozo`, `dizo+fzoo`, `adalezo+fzoo:lozo`.

    expression = [around "+"] estimator [":" family]

Wherever an estimator is named, an expression may stand. It becomes a class like any other, whose settings are those of
its parts, of the family as `directions.rank`, so that records hold all of them. Light: imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError, unknown
from ..settings import settings_of

if TYPE_CHECKING:
    from ..contracts.planned import Planned
    from ..estimator.estimator import Estimator
    from ..estimator.families import Directions

MARK, AROUND = ":", "+"
SETTING = "directions"
_PREFIX = f"{SETTING}."


def is_expression(text: str) -> bool:
    """Whether the text is more than an estimator's name."""
    return MARK in text or AROUND in text


def parts(text: str) -> tuple[str | None, str, str | None]:
    """The names of what is around, of the estimator, and of the family; ZobenchError where one is missing."""
    around, plus, rest = (part.strip() for part in text.rpartition(AROUND))
    estimator, colon, family = (part.strip() for part in rest.partition(MARK))
    halves = not estimator or bool(plus) != bool(around) or bool(colon) != bool(family)
    if halves or MARK in family or AROUND in around or MARK in around:
        raise ZobenchError(
            f"estimator {text.strip()!r}: write ESTIMATOR{MARK}DIRECTIONS, or METHOD{AROUND}ESTIMATOR, for example "
            f"mezo{MARK}lozo, dizo{AROUND}fzoo, dizo{AROUND}fzoo{MARK}lozo"
        )
    return around or None, estimator, family or None


def joined(around: str | None, estimator: str, family: str | None) -> str:
    """The expression of these names."""
    return (f"{around}{AROUND}" if around else "") + estimator + (f"{MARK}{family}" if family else "")


def canonical(text: str, estimators: Iterable[str], families: Iterable[str]) -> str:
    """The expression without spaces. ZobenchError for names that nobody registered."""
    around, estimator, family = parts(text)
    known = {"estimator": list(estimators), "directions": list(families)}
    for kind, name in (("estimator", around), ("estimator", estimator), ("directions", family)):
        if name is not None and name not in known[kind]:
            raise ZobenchError(unknown(kind, name, known[kind], see=f"zobench ls {kind.rstrip('s')}s"))
    return joined(around, estimator, family)


def apart(named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(kind, name) pairs, expressions of estimators as the names that they are made of."""
    for kind, name in named:
        if kind == "estimators" and is_expression(name):
            around, estimator, family = parts(name)
            yield from (("estimators", one) for one in (around, estimator) if one is not None)
            if family is not None:
                yield "directions", family
        else:
            yield kind, name


def made_of(
    text: str, find: Callable[[str], type[Estimator]], family_of: Callable[[str], type[Directions]]
) -> type[Estimator]:
    """The class that an expression means, of the registered ones that `find` and `family_of` give."""
    around, estimator, family = parts(text)
    cls = find(estimator)
    if family is not None:
        cls = build(joined(None, estimator, family), cls, family_of(family))
    return cls if around is None else laid_around(around, find(around), estimator, cls)


def laid_around(name: str, method: type[Estimator], inner: str, cls: type[Estimator]) -> type[Estimator]:
    """A method around another one's step. ZobenchError where that makes no sense."""
    outer = method.around
    if outer is None:
        raise ZobenchError(f"estimator {name}{AROUND}{inner}: {name} is no method around another one's step")
    if not cls.trains or cls.differentiates or (cls.own_directions and "backpropagation" in cls.own_directions):
        raise ZobenchError(f"estimator {name}{AROUND}{inner}: {inner} makes no zeroth-order step")
    own = [key for key in settings_of(outer) if key in settings_of(cls)]
    if own:
        raise ZobenchError(f"estimator {name}{AROUND}{inner}: both have a setting called {own[0]}")
    said = {outer.verified, cls.verified}
    space: dict[str, Any] = {
        "__module__": cls.__module__,
        "__composed__": True,
        "__doc__": f"{(outer.__doc__ or '').strip()}\n\nAround {inner}: {(cls.__doc__ or '').strip()}",
        "verified": next(one for one in (False, None, True) if one in said),
        "reference": f"{method.reference}; around {cls.reference}",
        "public_code": outer.public_code,
        "neutral": None,
        "forwards_per_step": cls.forwards_per_step,
        "extra_forwards_per_step": cls.extra_forwards_per_step + outer.extra_forwards_per_step,
        "moves_along_looks": False,
        "lr_grid": cls.lr_grid,
        "small_lrs": cls.small_lrs,
        "needs": {**cls.needs, **outer.needs},
        "exercise": {**cls.exercise, **outer.exercise},
        "around": None,
    }
    made: type[Estimator] = type(f"{method.__name__}{AROUND}{cls.__name__}", (outer, cls), space)
    return made


def build(text: str, cls: type[Estimator], family: type[Directions]) -> type[Estimator]:
    """The class that an expression means. ZobenchError for an estimator that takes no directions."""
    _, estimator, named = parts(text)
    if why := takes_none(cls):
        raise ZobenchError(f"estimator {estimator} takes no directions: {why}")
    if cls.recalls and not family.recalled:
        raise ZobenchError(
            f"estimator {estimator} draws directions of earlier steps again, which {named} cannot: use other directions"
        )
    declared = {f"{_PREFIX}{key}": setting for key, setting in settings_of(family).items()}
    space: dict[str, Any] = {"__module__": cls.__module__, "__composed__": True, "family": family}
    first = (family.__doc__ or family.__name__).strip().splitlines()[0]
    space["__doc__"] = f"{(cls.__doc__ or '').strip()}\n\nIts directions, of the family {family.__name__}: {first}"
    said = {cls.verified, family.verified}
    space["verified"] = next(one for one in (False, None, True) if one in said)  # as sure as the less sure of the two
    space["neutral"] = None
    space["forwards_per_step"] = _forwards(cls, family)
    space["extra_forwards_per_step"] = cls.extra_forwards_per_step + family.extra_forwards_per_step
    space["exercise"] = {**cls.exercise, **{f"{_PREFIX}{key}": value for key, value in family.exercise.items()}}
    space["state_of"] = _state_of(cls, family, tuple(declared))
    space["check"] = classmethod(_check)
    space["__annotations__"] = {key: setting.type for key, setting in declared.items()}
    space.update((key, setting.default) for key, setting in declared.items())
    made: type[Estimator] = type(f"{cls.__name__}{MARK}{family.__name__}", (cls,), space)
    return made


def descends_gradients(cls: type[Estimator]) -> bool:
    """Whether it is a first-order method: it trains with gradients, and looks along no direction."""
    return bool(cls.trains and cls.differentiates and cls.own_directions)


def takes_none(cls: type[Estimator]) -> str:
    """Why directions of a family cannot take the place of its own; empty where they can."""
    return cls.own_directions or ("" if cls.trains else "it trains nothing")


def _forwards(cls: type[Estimator], family: type[Directions]) -> int | None:
    """Of a step along the family's directions, at the default settings; None where it varies."""
    own, each, directions = cls.forwards_per_step, family.forwards_per_direction, cls.directions_per_step
    if own is None or (each and directions is None):
        return None
    return own + family.forwards_per_step + each * (directions or 0)


def _check(cls: Any, settings: Mapping[str, Any], planned: Planned) -> None:
    """What the estimator refuses, and what the family does."""
    super(cls, cls).check({k: v for k, v in settings.items() if not k.startswith(_PREFIX)}, planned)
    own = {k.removeprefix(_PREFIX): v for k, v in settings.items() if k.startswith(_PREFIX)}
    cls.family.check(own, planned)


def _state_of(
    cls: type[Estimator], family: type[Directions], declared: tuple[str, ...]
) -> Callable[[Any, tuple[int, ...]], float]:
    """What both keep for a tensor of a shape."""

    def state_of(self: Any, shape: tuple[int, ...]) -> float:
        own = family(**{key.removeprefix(_PREFIX): getattr(self, key) for key in declared})
        return cls.state_of(self, shape) + own.state_of(shape)

    return state_of
