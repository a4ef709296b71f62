"""Statistics of a board: spreads, standard errors, and paired comparisons of two methods.

Two methods are compared on what they share: the same test items, scored under the same seeds. The test is the paired
sign-flip (randomisation) test: were there no difference, each item's difference would be as likely to have the other
sign. For accuracy at one seed it *is* McNemar's exact test. Everything here is deterministic, free of any order of its
input, and needs the standard library only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALPHA = 0.05
"""Level of the tests, after Holm's correction over a column."""

SEED_MARGIN = 2.0
"""Standard errors over seeds by which a mean difference must be off zero to count as one that seeds agree on."""

LATTICE, ENUMERATED = 100, 16
"""Up to how many differences `sign_flip` is exact: multiples of one unit, and any others."""

_TINY = 1e-9


def mean(values: Sequence[float]) -> float:
    """The mean; the same for any order."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
    """The standard deviation with n - 1; None for fewer than two values."""
    if len(values) < 2:
        return None
    m = mean(values)
    return math.sqrt(math.fsum((v - m) ** 2 for v in values) / (len(values) - 1))


def mean_stderr(values: Sequence[float]) -> float | None:
    """The standard error of a mean; None for fewer than two values."""
    std = sample_std(values)
    return None if std is None else std / math.sqrt(len(values))


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean of positive values."""
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for the number of tests (Holm 1979, step down), each in its place; at most 1."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    out, highest = [0.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[i]))
        out[i] = highest
    return out


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the paired sign-flip test on the sum of the differences; only their ratios matter.

    Exact where all differences that are not zero are of one size (accuracy at one seed: McNemar's exact test), where
    up to `LATTICE` are small multiples of one unit (accuracies averaged over seeds), and for up to `ENUMERATED` others.
    Beyond, the normal approximation to the same distribution: sum / sqrt(sum of squares).
    """
    sizes = sorted(abs(d) for d in differences if abs(d) > _TINY)
    if not sizes:
        return 1.0
    sizes = [size / sizes[-1] for size in sizes]
    observed = abs(math.fsum(differences)) / max(abs(d) for d in differences)
    multiples = _multiples(sizes)
    if multiples is not None and (len(multiples[1]) == 1 or len(sizes) <= LATTICE):
        per_unit, counts = multiples
        return _exact(_lattice(counts), round(observed * per_unit))
    if len(sizes) <= ENUMERATED:
        return _exact(_enumerated(sizes), observed)
    return math.erfc(observed / math.sqrt(2 * math.fsum(size * size for size in sizes)))


def _multiples(sizes: Sequence[float]) -> tuple[int, Counter[int]] | None:
    """(k, how often each whole multiple of 1/k) for the smallest k up to 16 that fits all sizes; else None."""
    for k in range(1, 17):
        # Records keep six decimals of an item's score.
        if all(abs(size * k - round(size * k)) < 1e-4 and round(size * k) > 0 for size in sizes):
            return k, Counter(round(size * k) for size in sizes)
    return None


def _lattice(sizes: Mapping[int, int]) -> dict[float, float]:
    """The distribution of a sum of +-size, `sizes` counting how many there are of each."""
    total: dict[int, float] = {0: 1.0}
    for size, count in sorted(sizes.items()):
        # The sum of `count` signs is 2 heads - count.
        scale = count * math.log(2)
        signs = {
            2 * heads - count: math.exp(
                math.lgamma(count + 1) - math.lgamma(heads + 1) - math.lgamma(count - heads + 1) - scale
            )
            for heads in range(count + 1)
        }
        new: dict[int, float] = {}
        for at, p in total.items():
            for sign, q in signs.items():
                new[at + size * sign] = new.get(at + size * sign, 0.0) + p * q
        total = new
    return {float(at): p for at, p in total.items()}


def _enumerated(sizes: Sequence[float]) -> dict[float, float]:
    sums: Counter[float] = Counter({0.0: 1})
    for size in sizes:
        new: Counter[float] = Counter()
        for at, count in sums.items():
            new[at + size] += count
            new[at - size] += count
        sums = new
    return {at: count / 2 ** len(sizes) for at, count in sums.items()}


def _exact(distribution: Mapping[float, float], observed: float) -> float:
    return min(1.0, math.fsum(p for at, p in distribution.items() if abs(at) >= observed - _TINY))


@dataclass(frozen=True)
class Comparison:
    """One method against another on one task (or on several, see `combine`): positive is in favour of the first."""

    difference: float
    stderr: float  # over items, of the difference
    p: float  # sign-flip, two-sided, not corrected
    items: int
    by_seed: Mapping[int, float]  # the difference at each shared seed
    weighted: tuple[float, ...]  # the items' contributions; they add up to `difference`

    @property
    def seeds_agree(self) -> bool:
        """With two or more shared seeds: the mean difference is over SEED_MARGIN standard errors (over seeds) off zero.

        A check, not a test: two to five seeds cannot carry one. It keeps a gain that one lucky seed made from being
        called a gain, which a test over items alone would do.
        """
        values = list(self.by_seed.values())
        error = mean_stderr(values)
        return error is None or abs(mean(values)) > SEED_MARGIN * error

    def holds(self, p: float) -> bool:
        """Whether the first is better, `p` being this comparison's p after correction."""
        return self.difference > 0 and p < ALPHA and self.seeds_agree


def compare(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> Comparison | None:
    """The first method against the second, from the scores of the same test items by seed.

    Differences of an item are averaged over the seeds that both have. None where they share no seed, or where at a
    shared seed the numbers of items differ, so that they cannot be paired.
    """
    shared = sorted(set(a) & set(b))
    lengths = {len(side[seed]) for seed in shared for side in (a, b)}
    if len(lengths) != 1 or lengths == {0}:
        return None
    n = lengths.pop()
    items = [math.fsum(a[s][i] - b[s][i] for s in shared) / len(shared) for i in range(n)]
    return Comparison(
        difference=mean(items),
        stderr=mean_stderr(items) or 0.0,
        p=sign_flip(items),
        items=n,
        by_seed={s: mean(a[s]) - mean(b[s]) for s in shared},
        weighted=tuple(d / n for d in items),
    )


def combine(tasks: Sequence[Comparison]) -> Comparison:
    """Comparisons on several tasks as one on their plain average, as a board averages tasks."""
    k = len(tasks)
    weighted = tuple(w / k for one in tasks for w in one.weighted)
    seeds = set.intersection(*(set(one.by_seed) for one in tasks))
    return Comparison(
        difference=mean([one.difference for one in tasks]),
        stderr=math.sqrt(math.fsum(one.stderr**2 for one in tasks)) / k,
        p=sign_flip(weighted),
        items=sum(one.items for one in tasks),
        by_seed={s: mean([one.by_seed[s] for one in tasks]) for s in sorted(seeds)},
        weighted=weighted,
    )
