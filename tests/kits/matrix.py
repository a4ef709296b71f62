"""Which cases of a product run by default and which are `slow`: the one rule, for all tests that have such products.

Where a thing holds for every A on every B, most cases take the same way through the code as another. By default each A
runs once and each B runs once (`covering`; of listed cases, `meeting`), or one case of each kind (`first_of_each`), or
those that are named because they have code of their own (`named`). The other cases are there, marked `slow`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def covering(*axes: Iterable[Any], together: int = 1) -> list[Any]:
    """The product of the axes as parameters of a test; by default, few cases that meet each value of each axis.

    With `together=2` they meet each pair of values of any two axes.
    """
    values = [list(axis) for axis in axes]
    places = list(itertools.product(*(range(len(axis)) for axis in values)))
    chosen = _few([tuple(enumerate(case)) for case in places], together)
    return [
        _param([axis[i] for axis, i in zip(values, case, strict=True)], n in chosen) for n, case in enumerate(places)
    ]


def meeting(
    cases: Iterable[T], facets: Callable[[T], Iterable[Hashable]], ids: Callable[[T], str] | None = None
) -> list[Any]:
    """These cases as parameters of a test; by default, few that together have all facets of all of them."""
    listed = list(cases)
    chosen = _few([tuple(enumerate(facets(case))) for case in listed], 1)
    return [_param(case, n in chosen, ids(case) if ids else None) for n, case in enumerate(listed)]


def first_of_each(
    cases: Iterable[T], kind: Callable[[T], Hashable], ids: Callable[[T], str] | None = None
) -> list[Any]:
    """These cases as parameters of a test; by default, the first of each kind."""
    seen: set[Hashable] = set()
    out = []
    for case in cases:
        out.append(_param(case, kind(case) not in seen, ids(case) if ids else None))
        seen.add(kind(case))
    return out


def named(cases: Iterable[T], by_default: Collection[T], ids: Callable[[T], str] | None = None) -> list[Any]:
    """These cases as parameters of a test; by default, those of `by_default`, which must all be among them."""
    listed = list(cases)
    missing = [case for case in by_default if case not in listed]
    assert not missing, f"no such cases: {missing}"
    return [_param(case, case in by_default, ids(case) if ids else None) for case in listed]


def _few(cases: Sequence[tuple[Hashable, ...]], together: int) -> set[int]:
    """Places of few cases that have between them each facet, or each so many facets together, that any case has.

    The next is one that has most of what is still to be met; of such, one with most new pairs of facets, so that what
    is met with one value of an axis is not always met with the same value of another.
    """
    wanted = [set(itertools.combinations(case, together)) for case in cases]
    further = [set(itertools.combinations(case, 2)) for case in cases]
    left, pairs, chosen = set().union(*wanted), set().union(*further), set[int]()
    while left:
        best = max(range(len(cases)), key=lambda n: (len(wanted[n] & left), len(further[n] & pairs)))
        chosen.add(best)
        left -= wanted[best]
        pairs -= further[best]
    return chosen


def _param(case: Any, by_default: bool, name: str | None = None) -> Any:
    """A case of a test of one argument, or, a list or tuple, of several."""
    marks = [] if by_default else [pytest.mark.slow]
    return (
        pytest.param(*case, marks=marks, id=name)
        if isinstance(case, list | tuple)
        else pytest.param(case, marks=marks, id=name)
    )
