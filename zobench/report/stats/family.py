"""Many comparisons at once: which hold, corrected for their number.

A mark is a claim, so the marks of a board or a page are corrected together (Holm: the chance of any false one stays
below ALPHA). A count ("better than MeZO: 7 of 33") is corrected for the expected share of false ones among those
counted (Benjamini-Hochberg).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, TypeVar

from .effect import ALPHA, Effect
from .prior import fitted

Family: TypeAlias = Literal["board", "claim", "column"]
"""Over what comparisons marks are corrected: all of a board or page, those of one of its claims, or of one column."""

Verdict: TypeAlias = Literal["better", "worse", "as good as", "not told apart", "not compared"]
BETTER: Verdict = "better"
WORSE: Verdict = "worse"
EQUAL: Verdict = "as good as"
SAME: Verdict = "not told apart"
UNTESTED: Verdict = "not compared"

MARGIN = 0.02
"""Two methods less than this apart, as a fraction, are as good as each other; unless a margin is given."""

K = TypeVar("K")


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for the number of tests (Holm 1979, step down), each in its place; at most 1."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    out, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = highest
    return out


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995, step up), each in its place."""
    order = sorted(range(len(ps)), key=lambda i: -ps[i])
    out, lowest = [0.0] * len(ps), 1.0
    for rank, i in enumerate(order):
        lowest = min(lowest, ps[i] * len(ps) / (len(ps) - rank))
        out[i] = lowest
    return out


def corrected(found: Mapping[K, Effect | None]) -> dict[K, float]:
    """Holm's p of every comparison of a family that may be marked. None, and what has too few seeds, are no tests."""
    able = _able(found)
    return dict(zip(able, holm(_guarded(able)), strict=True))


def _able(found: Mapping[K, Effect | None]) -> dict[K, Effect]:
    return {key: one for key, one in found.items() if one is not None and one.markable}


def _guarded(able: Mapping[K, Effect], p: Callable[[Effect], float] = lambda one: one.p) -> list[float]:
    """The p of each comparison; never below what it is with its variance between seeds moderated by the others'."""
    prior = fitted(able.values())
    return [p(one) if prior is None else max(p(one), p(prior.of(one))) for one in able.values()]


def verdicts(found: Mapping[K, Effect | None], margin: float = MARGIN) -> dict[K, Verdict]:
    """What each comparison of a family says of its first side, corrected by Holm.

    `as good as` is for those whose two one-sided tests against `margin` hold, likewise corrected. Fewer seeds than a
    mark needs, or nothing to pair: not compared.
    """
    p = corrected(found)
    able = _able(found)
    equal = dict(zip(able, holm(_guarded(able, lambda one: one.equivalence_p(margin))), strict=True))
    out: dict[K, Verdict] = {}
    for key in found:
        one = able.get(key)
        if one is None:
            out[key] = UNTESTED
        elif p[key] < ALPHA:
            out[key] = BETTER if one.mean > 0 else WORSE
        else:
            out[key] = EQUAL if equal[key] < ALPHA else SAME
    return out


def discoveries(found: Mapping[K, Effect | None]) -> dict[K, Verdict]:
    """As `verdicts`, for counts: better or worse at a false discovery rate of ALPHA, else not told apart."""
    able = _able(found)
    adjusted = dict(zip(able, benjamini_hochberg(_guarded(able)), strict=True))
    out: dict[K, Verdict] = {}
    for key, one in found.items():
        if one is None or key not in able:
            out[key] = UNTESTED
        elif adjusted[key] < ALPHA:
            out[key] = BETTER if one.mean > 0 else WORSE
        else:
            out[key] = SAME
    return out
