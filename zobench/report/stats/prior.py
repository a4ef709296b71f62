"""What the comparisons of a family say together of the variance between seeds: a guard for the tails of few seeds.

Three seeds that happen to lie close give a variance between seeds that is far too small, and Student's t with
Satterthwaite's degrees of freedom then has too small a p: at .05 it errs as often as it says, at .002, where many
comparisons are corrected, four times as often. So, as for the thousands of genes of three arrays each (Smyth 2004), a
scaled inverse chi-square distribution is fitted to the variances of all comparisons, each is drawn towards it, and no p
is smaller than the one with the variance so moderated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .basic import mean, sample_std
from .effect import Effect, OnTask, TwoWay

FEWEST = 8
"""Variances that a prior is fitted to: of fewer it is no better known than they."""

MOST_DF = 1e6


@dataclass(frozen=True)
class Prior:
    """What a family's variances between seeds say of each: of the mean over items."""

    variance: float
    df: float
    """Degrees of freedom: how well `variance` is known."""

    def of(self, effect: Effect) -> Effect:
        """The effect with its variances between seeds drawn towards the prior."""
        return Effect(tuple(OnTask(tuple(map(self._table, task.splits))) for task in effect.tasks))

    def _table(self, one: TwoWay) -> TwoWay:
        if one.fixed or one.seeds < 2 or not one.moved:
            return one
        own = one.seeds - 1
        moderated = (self.df * self.variance * one.units + own * one.ms_seeds) / (self.df + own)
        return replace(one, ms_seeds=moderated, prior_df=self.df)


def fitted(effects: Iterable[Effect]) -> Prior | None:
    """The prior by the moments of the logarithms of the variances (Smyth 2004, section 6.2); None for too few.

    Differences that are nowhere are no evidence. A variance of nought is half an item's: what scores can resolve.
    """
    found = [
        one
        for effect in effects
        for task in effect.tasks
        for one in task.splits
        if not one.fixed and one.seeds > 1 and one.moved
    ]
    if len(found) < FEWEST:
        return None
    logs = []
    for one in found:
        half = (one.seeds - 1) / 2
        variance = max(one.ms_seeds / one.units, (0.5 / one.units) ** 2)
        logs.append(math.log(variance) - digamma(half) + math.log(half))
    spread = (sample_std(logs) or 0.0) ** 2 - mean([trigamma((one.seeds - 1) / 2) for one in found])
    if spread <= 0:
        return Prior(math.exp(mean(logs)), MOST_DF)
    half = _inverse_trigamma(spread)
    return Prior(math.exp(mean(logs) + digamma(half) - math.log(half)), min(MOST_DF, 2 * half))


def digamma(x: float) -> float:
    """The derivative of the logarithm of the gamma function, for x > 0 (recurrence, then the asymptotic series)."""
    out = 0.0
    while x < 10:
        out -= 1 / x
        x += 1
    y = 1 / (x * x)
    return out + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))


def trigamma(x: float) -> float:
    """The derivative of `digamma`, for x > 0."""
    out = 0.0
    while x < 10:
        out += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    return out + 1 / x + y / 2 + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y * (1 / 30 - y * 5 / 66))))


def _inverse_trigamma(value: float) -> float:
    """The x at which `trigamma` is `value` > 0: by halving, as it only falls."""
    low, high = 1e-8, 1e8
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if trigamma(middle) > value else (low, middle)
    return math.sqrt(low * high)
