"""The one inference of zobench: intervals, p-values, verdicts, ranks. Light: no torch; numpy where arrays are.

`effect` has the model and what follows from it, `pairing` makes effects of scores, `family` corrects many comparisons,
`ranks` has what is told of many methods at once, `slope` the interval of a fitted line, `student` the distributions.
Nothing else in zobench computes an error bar.
"""

from __future__ import annotations

from .basic import geometric_mean, mean, sample_std
from .effect import ALPHA, MARK_SEEDS, Effect, OnTask, TwoWay, combine
from .family import (
    BETTER,
    EQUAL,
    MARGIN,
    SAME,
    UNTESTED,
    WORSE,
    Family,
    Verdict,
    benjamini_hochberg,
    corrected,
    discoveries,
    holm,
    verdicts,
)
from .pairing import Clusters, Draw, Scores, compare, of_values, score, two_way
from .quotient import beyond, quotient
from .ranks import (
    FRIEDMAN_TASKS,
    Friedman,
    cliques,
    friedman,
    profile,
    rank_correlation,
    rank_intervals,
    ranks,
    spearman,
)
from .slope import slope_interval

__all__ = [
    "ALPHA",
    "BETTER",
    "EQUAL",
    "FRIEDMAN_TASKS",
    "MARGIN",
    "MARK_SEEDS",
    "SAME",
    "UNTESTED",
    "WORSE",
    "Clusters",
    "Draw",
    "Effect",
    "Family",
    "Friedman",
    "OnTask",
    "Scores",
    "TwoWay",
    "Verdict",
    "benjamini_hochberg",
    "beyond",
    "cliques",
    "combine",
    "compare",
    "corrected",
    "discoveries",
    "friedman",
    "geometric_mean",
    "holm",
    "mean",
    "of_values",
    "profile",
    "quotient",
    "rank_correlation",
    "rank_intervals",
    "ranks",
    "sample_std",
    "score",
    "slope_interval",
    "spearman",
    "two_way",
    "verdicts",
]
