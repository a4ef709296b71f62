"""A mean with what is known of it: of scores, or of paired differences, on one task or over several.

The model of one task: seeds and items are both drawn, and cross: every seed is scored on the same items. With d[s, i]
the score (or the difference) at seed s and item i, and MS the mean squares of the two-way table,

    V = max(MS_seeds + MS_items - MS_both, MS_seeds, MS_items) / (S n)

estimates the variance of the mean over both. Over T tasks, each with seeds of its own order and items of its own, V =
sum of V_t / T^2, with Satterthwaite's degrees of freedom, and intervals and p are Student's t. A test over items alone,
with scores averaged over seeds first, would treat the luck of three seeds as a fact.

Items that share a passage are not independent draws: they are summed by cluster first (the linearised mean of Miller
2024, "Adding Error Bars to Evals"). With several data splits, the variance between their means is used if it is larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .basic import mean, sample_std
from .student import power_of_t, t_p, t_quantile, t_tail

ALPHA = 0.05
"""Level of the tests, after correction; intervals are at 1 - ALPHA."""

MARK_SEEDS = 3
"""Seeds that a mark needs: below, the variance between seeds is not known, or hardly."""

MOST_SEEDS = 1000
"""Up to how many seeds are looked at for a given power."""


@dataclass(frozen=True)
class TwoWay:
    """One task and split: the two-way table of seeds and items, as its mean squares. `units`: clusters, or items."""

    mean: float
    by_seed: tuple[tuple[int, float], ...]
    items: int
    units: int
    ms_items: float
    ms_seeds: float = 0.0
    ms_both: float = 0.0
    moved: int = 0
    """Units whose mean over seeds is not zero: those that a difference rests on."""
    prior_df: float = 0.0
    """Degrees of freedom that `ms_seeds` has from other comparisons (see prior.py)."""
    fixed: bool = False
    """Nothing in it was trained: it is the same at every seed, and the seeds are no source of variance."""

    @property
    def seeds(self) -> int:
        """How many seeds."""
        return len(self.by_seed)

    @property
    def cells(self) -> int:
        """Seeds times units."""
        return self.seeds * self.units

    @property
    def variance(self) -> float:
        """Of the mean. With one seed it is over items alone."""
        if self.seeds == 1:
            return self.ms_items / self.units
        total = self.ms_seeds + self.ms_items - self.ms_both
        return max(total, self.ms_seeds, self.ms_items) / self.cells

    @property
    def terms(self) -> list[tuple[float, float]]:
        """(contribution to the variance, its degrees of freedom) of each mean square, for Satterthwaite's formula."""
        if self.seeds == 1:
            return [(self.ms_items / self.units, self.units - 1)]
        s, n = self.seeds - 1, self.units - 1
        return [
            (self.ms_seeds / self.cells, s + self.prior_df),
            (self.ms_items / self.cells, n),
            (self.ms_both / self.cells, s * n),
        ]

    def with_seeds(self, seeds: int) -> TwoWay:
        """What the table would be like with another number of seeds: the expected mean squares of its components."""
        of_seed = max(0.0, (self.ms_seeds - self.ms_both) / self.units)
        of_item = max(0.0, (self.ms_items - self.ms_both) / self.seeds)
        return TwoWay(
            mean=self.mean,
            by_seed=tuple((s, self.mean) for s in range(seeds)),
            items=self.items,
            units=self.units,
            ms_seeds=self.ms_both + self.units * of_seed,
            ms_items=self.ms_both + seeds * of_item,
            ms_both=self.ms_both,
        )


@dataclass(frozen=True)
class OnTask:
    """One task: a table for each data split, mostly one."""

    splits: tuple[TwoWay, ...]

    @property
    def mean(self) -> float:
        """Over the splits."""
        return mean([one.mean for one in self.splits])

    @property
    def _within(self) -> float:
        return math.fsum(one.variance for one in self.splits) / len(self.splits) ** 2

    @property
    def _between(self) -> float:
        spread = sample_std([one.mean for one in self.splits])
        return 0.0 if spread is None else spread**2 / len(self.splits)

    @property
    def variance(self) -> float:
        """Of the mean: the variance within splits, or between them if that is larger (splits may share test items)."""
        return max(self._within, self._between)

    @property
    def terms(self) -> list[tuple[float, float]]:
        """As of a TwoWay."""
        k = len(self.splits)
        if self._between > self._within:
            return [(self._between, k - 1)]
        return [(v / k**2, nu) for one in self.splits for v, nu in one.terms]


@dataclass(frozen=True)
class Effect:
    """A mean over tasks, with its uncertainty: of scores, or of paired differences (positive: the first is better)."""

    tasks: tuple[OnTask, ...]

    @cached_property
    def mean(self) -> float:
        """The plain average of the tasks, as a board averages."""
        return mean([one.mean for one in self.tasks])

    @cached_property
    def stderr(self) -> float:
        """The standard error of the mean: over seeds and items. With one seed over items alone."""
        return math.sqrt(math.fsum(one.variance for one in self.tasks)) / len(self.tasks)

    @cached_property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom; infinite where nothing varies."""
        k = len(self.tasks)
        below = math.fsum((v / k**2) ** 2 / nu for one in self.tasks for v, nu in one.terms)
        return self.stderr**4 / below if below > 0 else math.inf

    @cached_property
    def p(self) -> float:
        """Two-sided p of no difference, not corrected.

        Never below 2^(1 - k), k being the units that differ at all: with so few, no sign-flip test can say more, and
        t would (four items of four, a difference that is the same everywhere).
        """
        if self.mean == 0.0:
            return 1.0
        least = min(1.0, 2.0 ** (1 - self._moved))
        return least if self.stderr == 0.0 else max(least, t_p(self.mean / self.stderr, self.df))

    def half(self, level: float = 1 - ALPHA) -> float:
        """Half the width of the interval at `level`."""
        return 0.0 if self.stderr == 0.0 else t_quantile(0.5 + level / 2, self.df) * self.stderr

    def equivalence_p(self, margin: float) -> float:
        """P of the two one-sided tests: small where the mean is surely within `margin` of zero (Schuirmann 1987)."""
        if self.stderr == 0.0:
            return 1.0 if abs(self.mean) >= margin else 2.0**-self._units
        return t_tail((margin - abs(self.mean)) / self.stderr, self.df)

    def equivalent(self, margin: float) -> bool:
        """Whether the two one-sided tests hold at ALPHA: abs(mean) + t(1 - ALPHA, df) stderr < margin."""
        return self.equivalence_p(margin) < ALPHA

    @property
    def _moved(self) -> int:
        return sum(one.moved for task in self.tasks for one in task.splits)

    @property
    def _units(self) -> int:
        return sum(one.units for task in self.tasks for one in task.splits)

    @property
    def items(self) -> int:
        """Test items of all tasks and splits."""
        return sum(one.items for task in self.tasks for one in task.splits)

    @property
    def seeds(self) -> int:
        """The fewest seeds of any task and split."""
        return min(one.seeds for task in self.tasks for one in task.splits)

    @property
    def fixed(self) -> bool:
        """Whether nothing in it was trained."""
        return all(one.fixed for task in self.tasks for one in task.splits)

    @property
    def seeds_unseen(self) -> bool:
        """Whether its interval leaves out the variance between seeds, since something that trains has one seed only."""
        return any(one.seeds == 1 and not one.fixed for task in self.tasks for one in task.splits)

    @property
    def markable(self) -> bool:
        """Whether it may carry a verdict: MARK_SEEDS seeds of everything that trains."""
        return all(one.fixed or one.seeds >= MARK_SEEDS for task in self.tasks for one in task.splits)

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean at each seed that all tasks have, over splits."""
        found = [dict(one.by_seed) for task in self.tasks for one in task.splits]
        shared = set.intersection(*map(set, found))
        return {seed: mean([one[seed] for one in found]) for seed in sorted(shared)}

    @property
    def without_one(self) -> tuple[float, float] | None:
        """The lowest and the highest mean that leaving out one task gives; None for a single task."""
        k = len(self.tasks)
        if k < 2:
            return None
        left = [(k * self.mean - one.mean) / (k - 1) for one in self.tasks]
        return min(left), max(left)

    def with_seeds(self, seeds: int) -> Effect | None:
        """The effect as it would be expected with so many seeds; None for one seed or several splits."""
        if self.seeds < 2 or any(len(task.splits) > 1 for task in self.tasks):
            return None
        return Effect(tuple(OnTask((task.splits[0].with_seeds(seeds),)) for task in self.tasks))

    def power(self, difference: float, seeds: int, level: float = ALPHA) -> float | None:
        """The chance to find a true `difference` with so many seeds and the same items, at `level`, two-sided.

        The variances of seeds and items are taken to be the estimated ones. None where there are none.
        """
        planned = self.with_seeds(seeds)
        if planned is None:
            return None
        if planned.stderr == 0.0:
            return 1.0 if difference else level / 2
        return power_of_t(abs(difference) / planned.stderr, planned.df, level)

    def detectable(self, power: float = 0.8, level: float = ALPHA) -> float | None:
        """The smallest true difference that as many seeds and items find with that `power`; None if unknown."""
        if self.power(1.0, self.seeds, level) is None or self.stderr == 0.0:
            return None
        low, high = 0.0, self.stderr
        while (self.power(high, self.seeds, level) or 0.0) < power:
            low, high = high, 2 * high
        while high - low > 1e-4:
            middle = (low + high) / 2
            enough = (self.power(middle, self.seeds, level) or 0.0) >= power
            low, high = (low, middle) if enough else (middle, high)
        return high

    def seeds_needed(self, difference: float, power: float = 0.8, level: float = ALPHA) -> int | None:
        """The fewest seeds (from MARK_SEEDS on) that give that `power`; None where MOST_SEEDS do not, or it is unknown.

        More seeds do not make more items: a difference below what the items can tell needs other data.
        """
        top = self.power(difference, MOST_SEEDS, level)
        if top is None or top < power:
            return None
        low, high = MARK_SEEDS - 1, MOST_SEEDS
        while high - low > 1:
            middle = (low + high) // 2
            enough = (self.power(difference, middle, level) or 0.0) >= power
            low, high = (low, middle) if enough else (middle, high)
        return high


def combine(effects: Sequence[Effect]) -> Effect:
    """Effects on several tasks as one on their plain average."""
    return Effect(tuple(task for one in effects for task in one.tasks))
