"""Estimators along directions of a family: `mezo:lozo` is `mezo` with `--set directions=lozo`.

    expression = estimator ":" family

Wherever an estimator is named, an expression may stand. It becomes a class like any other, whose settings are the
estimator's and those of the family as `directions.rank`, so that records hold all of them. Light: imports no torch.
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

MARK = ":"
SETTING = "directions"
_PREFIX = f"{SETTING}."


def is_along(text: str) -> bool:
    """Whether the text is an estimator along directions of a family."""
    return MARK in text


def split(text: str) -> tuple[str, str]:
    """The names of the estimator and of the family. ZobenchError where one is missing."""
    estimator, _, family = (part.strip() for part in text.partition(MARK))
    if not estimator or not family or MARK in family:
        raise ZobenchError(f"estimator {text.strip()!r}: write ESTIMATOR{MARK}DIRECTIONS, for example mezo{MARK}lozo")
    return estimator, family


def canonical(text: str, estimators: Iterable[str], families: Iterable[str]) -> str:
    """The expression without spaces. ZobenchError for names that nobody registered."""
    estimator, family = split(text)
    known = list(estimators)
    if estimator not in known:
        raise ZobenchError(unknown("estimator", estimator, known, see="zobench ls estimators"))
    known = list(families)
    if family not in known:
        raise ZobenchError(unknown("directions", family, known, see="zobench ls directions"))
    return f"{estimator}{MARK}{family}"


def apart(named: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(kind, name) pairs, estimators along directions as the two that they are."""
    for kind, name in named:
        if kind == "estimators" and is_along(name):
            estimator, family = split(name)
            yield from (("estimators", estimator), ("directions", family))
        else:
            yield kind, name


def build(text: str, cls: type[Estimator], family: type[Directions]) -> type[Estimator]:
    """The class that an expression means. ZobenchError for an estimator that takes no directions."""
    estimator, _ = split(text)
    if why := takes_none(cls):
        raise ZobenchError(f"estimator {estimator} takes no directions: {why}")
    declared = {f"{_PREFIX}{key}": setting for key, setting in settings_of(family).items()}
    space: dict[str, Any] = {"__module__": cls.__module__, "__composed__": True, "family": family}
    first = (family.__doc__ or family.__name__).strip().splitlines()[0]
    space["__doc__"] = f"{(cls.__doc__ or '').strip()}\n\nIts directions, of the family {family.__name__}: {first}"
    said = {cls.verified, family.verified}
    space["verified"] = next(one for one in (False, None, True) if one in said)  # as sure as the less sure of the two
    space["neutral"] = None
    if cls.forwards_per_step is not None:
        space["forwards_per_step"] = cls.forwards_per_step + family.forwards_per_step
    space["exercise"] = {**cls.exercise, **{f"{_PREFIX}{key}": value for key, value in family.exercise.items()}}
    space["state_of"] = _state_of(cls, family, tuple(declared))
    space["check"] = classmethod(_check)
    space["__annotations__"] = {key: setting.type for key, setting in declared.items()}
    space.update((key, setting.default) for key, setting in declared.items())
    made: type[Estimator] = type(f"{cls.__name__}{MARK}{family.__name__}", (cls,), space)
    return made


def takes_none(cls: type[Estimator]) -> str:
    """Why directions of a family cannot take the place of its own; empty where they can."""
    return cls.own_directions or ("" if cls.trains else "it trains nothing")


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
