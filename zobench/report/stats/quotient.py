"""A quotient of two means with its interval: which share of one gain another one is (Fieller 1954)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .effect import Effect
from .pairing import Clusters, Draw, score

FAR = 1e3
"""Where an interval that goes on is cut off."""
_CLOSE = 1e-4


def beyond(
    top: Mapping[Draw, Sequence[float]],
    bottom: Mapping[Draw, Sequence[float]],
    base: Mapping[Draw, Sequence[float]],
    times: float,
    clusters: Clusters | None = None,
) -> Effect | None:
    """On one task the mean of (top - base) - times (bottom - base), paired over items and draws.

    None where the draws or the items of the three are not the same.
    """
    if not set(top) == set(bottom) == set(base):
        return None
    made = {}
    for draw, values in top.items():
        if not len(values) == len(bottom[draw]) == len(base[draw]):
            return None
        columns = zip(values, bottom[draw], base[draw], strict=True)
        made[draw] = [(t - z) - times * (b - z) for t, b, z in columns]
    return score(made, clusters)


def quotient(difference: Callable[[float], Effect], bottom: Effect) -> tuple[float, float, float] | None:
    """(top / bottom, lowest, highest): the r at which top - r bottom is not told apart from 0, at 95 %.

    difference: the effect top - r bottom by r. None where the bottom itself is not told apart from 0: then every
    quotient might be, and Fieller's set has no ends.
    """
    if abs(bottom.mean) <= bottom.half() or bottom.mean == 0.0:
        return None
    middle = difference(0.0).mean / bottom.mean
    low, high = (_end(difference, middle, way) for way in (-1.0, 1.0))
    return middle, low, high


def _end(difference: Callable[[float], Effect], middle: float, way: float) -> float:
    """The last r on this side of the middle at which the difference may be 0."""

    def apart(r: float) -> bool:
        one = difference(r)
        return abs(one.mean) > one.half()

    near, step = 0.0, 0.125
    while not apart(middle + way * step):
        near, step = step, 2 * step
        if step > FAR:
            return middle + way * FAR
    while step - near > _CLOSE:
        half = (near + step) / 2
        near, step = (near, half) if apart(middle + way * half) else (half, step)
    return middle + way * near
