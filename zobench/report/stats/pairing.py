"""From the scores of test items to effects: what is paired with what, and the mean squares of the table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from .basic import mean, sample_std
from .effect import Effect, OnTask, TwoWay

_NOTHING = 1e-18
"""A sum of squares of scores below this is rounding, as is a part of one below SLIGHT of it."""
_SLIGHT = 1e-12

_ROUNDING = 1e-9
"""A difference of scores below this is none: records keep six decimals of an item's."""


class Draw(NamedTuple):
    """What a record is one draw of: the split of the data (its `data_seed`), and the seed of the run."""

    split: int
    seed: int


Scores: TypeAlias = Mapping[Draw, Sequence[float]] | Mapping[int, Sequence[float]]
"""The scores of the test items by draw; or by seed, where there is one split."""
Clusters: TypeAlias = Mapping[int, Sequence[int]]
"""By split the cluster of each test item: items of one passage have one number."""


def compare(
    a: Scores,
    b: Scores,
    clusters: Clusters | None = None,
    *,
    fixed: tuple[bool, bool] = (False, False),
) -> Effect | None:
    """The first method against the second on one task, paired over items and draws.

    Both must have the same draws: a missing seed is a failure, not a reason to look at the others. A side that is
    `fixed` (nothing is trained) is the same at every seed, so its scores of a split stand for all of that split's.
    None where the draws or the numbers of items differ, or where there are not two items (or clusters) to take a
    variance over.
    """
    first, second = _by_split(a), _by_split(b)
    if not first or set(first) != set(second):
        return None
    found = []
    for split in sorted(first):
        one, other = first[split], second[split]
        one = _spread(one, other) if fixed[0] else one
        other = _spread(other, one) if fixed[1] else other
        if set(one) != set(other) or len({len(values) for side in (one, other) for values in side.values()}) != 1:
            return None
        seeds = sorted(one)
        difference = [[x - y for x, y in zip(one[s], other[s], strict=True)] for s in seeds]
        found.append(two_way(difference, seeds, (clusters or {}).get(split), fixed=all(fixed)))
    known = tuple(one for one in found if one is not None)
    return Effect((OnTask(known),)) if len(known) == len(found) else None


def score(a: Scores, clusters: Clusters | None = None, *, fixed: bool = False) -> Effect | None:
    """A method's own score on one task, with its uncertainty; None where there are not two items to vary.

    Seeds of a split whose numbers of items differ are no table: None.
    """
    found = []
    for split, one in sorted(_by_split(a).items()):
        if len({len(values) for values in one.values()}) != 1:
            return None
        seeds = sorted(one)[:1] if fixed else sorted(one)
        found.append(two_way([one[s] for s in seeds], seeds, (clusters or {}).get(split), fixed=fixed))
    known = tuple(one for one in found if one is not None)
    return Effect((OnTask(known),)) if known and len(known) == len(found) else None


def of_values(values: Mapping[int, float], stderr: float, items: int, *, fixed: bool = False) -> Effect | None:
    """A score of which the items were not kept: its values by seed, the standard error of one seed's score over items.

    Its variance is bounded from above: as if all that items vary by were shared by the seeds.
    """
    if items < 2 or not values:
        return None
    seeds = sorted(values)[:1] if fixed else sorted(values)
    spread = sample_std([values[s] for s in seeds]) or 0.0
    table = TwoWay(
        mean=mean([values[s] for s in seeds]),
        by_seed=tuple((s, values[s]) for s in seeds),
        items=items,
        units=items,
        ms_items=len(seeds) * items * stderr**2,
        ms_seeds=items * spread**2,
        moved=items,
        fixed=fixed,
    )
    return Effect((OnTask((table,)),))


def two_way(
    table: Sequence[Sequence[float]],
    seeds: Sequence[int],
    clusters: Sequence[int] | None = None,
    *,
    fixed: bool = False,
) -> TwoWay | None:
    """The mean squares of a table of scores or differences, `table[seed][item]`; None for fewer than two units.

    Sums are exact (`math.fsum`), so that equal records give equal bytes on every machine.
    """
    whole = mean([mean(row) for row in table]) if table and len(table[0]) else 0.0
    centred = [[x - whole for x in row] for row in table]
    if clusters is not None:
        centred = _clustered(centred, clusters)
    n_seeds, units = len(centred), len(centred[0]) if centred else 0
    if units < 2:
        return None
    by_seed = [mean(row) for row in centred]
    by_unit = [math.fsum(column) / n_seeds for column in zip(*centred, strict=True)]
    every = math.fsum(x * x for row in centred for x in row)
    of_seeds = units * math.fsum(m * m for m in by_seed)
    of_units = n_seeds * math.fsum(m * m for m in by_unit)
    of_both = every - of_seeds - of_units
    several = n_seeds > 1
    return TwoWay(
        mean=whole,
        by_seed=tuple((int(s), whole + m) for s, m in zip(seeds, by_seed, strict=True)),
        items=len(table[0]),
        units=units,
        ms_items=_mean_square(of_units, every, units - 1),
        ms_seeds=_mean_square(of_seeds, every, n_seeds - 1) if several else 0.0,
        ms_both=_mean_square(of_both, every, (n_seeds - 1) * (units - 1)) if several else 0.0,
        moved=sum(abs(whole + m) > _ROUNDING for m in by_unit),
        fixed=fixed,
    )


def _mean_square(squares: float, of: float, df: int) -> float:
    return squares / df if squares > max(_NOTHING, _SLIGHT * of) else 0.0


def _clustered(centred: Sequence[Sequence[float]], clusters: Sequence[int]) -> list[list[float]]:
    """Deviations with a column a cluster: linearised, so that the mean over columns is that over items."""
    names = {name: at for at, name in enumerate(sorted(set(clusters)))}
    scale = len(names) / len(clusters)
    out = []
    for row in centred:
        members: list[list[float]] = [[] for _ in names]
        for x, name in zip(row, clusters, strict=True):
            members[names[name]].append(x)
        out.append([scale * math.fsum(one) for one in members])
    return out


def _by_split(scores: Scores) -> dict[int, dict[int, Sequence[float]]]:
    out: dict[int, dict[int, Sequence[float]]] = {}
    for key, values in scores.items():
        split, seed = key if isinstance(key, tuple) else (0, key)
        out.setdefault(split, {})[seed] = values
    return out


def _spread(one: Mapping[int, Sequence[float]], other: Mapping[int, Sequence[float]]) -> dict[int, Sequence[float]]:
    """The scores of what is not trained, at the seeds of the other side."""
    return {seed: one[min(one)] for seed in other}
