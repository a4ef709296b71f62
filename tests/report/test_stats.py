"""Statistics against numbers worked out by hand, against scipy and brute force, and their properties."""

from __future__ import annotations

import ast
import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zobench.report import stats
from zobench.report.stats import Draw, prior, student
from zobench.report.stats.effect import Effect, OnTask, TwoWay
from zobench.report.stats.pairing import two_way


@pytest.fixture(params=range(12))
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Twelve draws, the same each time."""
    return random.Random(request.param)


def found(effect: Effect | None) -> Effect:
    assert effect is not None
    return effect


def table(one: Effect) -> TwoWay:
    return one.tasks[0].splits[0]


def test_means_and_spreads_by_hand():
    assert stats.mean([1, 2, 6]) == 3
    assert stats.sample_std([1, 2, 6]) == pytest.approx(math.sqrt(7))
    assert stats.sample_std([5]) is None
    assert stats.geometric_mean([1, 4]) == pytest.approx(2)


# ---- distributions


@pytest.mark.parametrize("df", [0.7, 1.0, 2.0, 3.7, 11.2, 400.0, 1e5])
@pytest.mark.parametrize("t", [0.0, 1e-3, 0.5, 2.0, 4.3, 40.0, -1.7])
def test_tails_of_t_are_scipys(t: float, df: float):
    scipy_stats = pytest.importorskip("scipy.stats")
    assert student.t_tail(t, df) == pytest.approx(scipy_stats.t.sf(t, df), rel=1e-9, abs=1e-300)
    assert student.t_p(t, df) == pytest.approx(2 * scipy_stats.t.sf(abs(t), df), rel=1e-9)


@pytest.mark.parametrize("df", [0.7, 2.0, 3.7, 61.0])
@pytest.mark.parametrize("level", [0.6, 0.95, 0.975, 0.9999])
def test_quantiles_of_t_are_scipys(level: float, df: float):
    scipy_stats = pytest.importorskip("scipy.stats")
    assert student.t_quantile(level, df) == pytest.approx(scipy_stats.t.ppf(level, df), rel=1e-9)


def test_further_distributions_are_scipys():
    scipy_stats = pytest.importorskip("scipy.stats")
    for x, df in ((0.1, 1), (3.0, 2), (20.0, 9), (60.0, 9.5)):
        assert student.chi2_tail(x, df) == pytest.approx(scipy_stats.chi2.sf(x, df), rel=1e-9)
    for f, a, b in ((0.5, 1, 5), (3.3, 4, 12.5), (50.0, 2, 6)):
        assert student.f_tail(f, a, b) == pytest.approx(scipy_stats.f.sf(f, a, b), rel=1e-9)
    for k in (2, 5, 30):
        assert student.range_quantile(0.95, k) == pytest.approx(
            scipy_stats.studentized_range.ppf(0.95, k, 1e8), rel=1e-5
        )
    for shift, df, level in ((2.0, 3.3, 0.05), (3.0, 40, 0.05), (1.0, 0.9, 0.05), (2.5, 1e5, 0.01), (0.0, 7, 0.05)):
        exact = scipy_stats.nct.sf(scipy_stats.t.ppf(1 - level / 2, df), df, shift)
        assert student.power_of_t(shift, df, level) == pytest.approx(exact, abs=1e-5)


# ---- corrections


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert stats.holm([0.05]) == [0.05]
    assert stats.holm([]) == []


def test_holm_never_lowers_keeps_order_and_moves_with_its_input(rng: random.Random):
    ps = [rng.choice([rng.random(), 0.01, 1.0]) for _ in range(rng.randint(0, 8))]
    corrected = stats.holm(ps)
    assert all(p <= c <= 1 for p, c in zip(ps, corrected, strict=True))
    for i, j in itertools.combinations(range(len(ps)), 2):
        assert (ps[i] <= ps[j]) <= (corrected[i] <= corrected[j])
    order = list(range(len(ps)))
    rng.shuffle(order)
    assert stats.holm([ps[i] for i in order]) == [corrected[i] for i in order]


def test_false_discovery_rates_are_scipys(rng: random.Random):
    scipy_stats = pytest.importorskip("scipy.stats")
    ps = [rng.random() ** 3 for _ in range(rng.randint(1, 20))]
    assert stats.benjamini_hochberg(ps) == pytest.approx(list(scipy_stats.false_discovery_control(ps)))
    assert all(b <= h + 1e-12 for b, h in zip(stats.benjamini_hochberg(ps), stats.holm(ps), strict=True))


# ---- one task


def draw(seed: int, seeds: int = 3, n: int = 20, spread: float = 0.5) -> np.ndarray[Any, Any]:
    """Differences with variance between seeds, between items, and of the two together."""
    rng = np.random.default_rng(seed)
    return spread * rng.normal(size=(seeds, 1)) + 0.7 * rng.normal(size=(1, n)) + rng.normal(size=(seeds, n))


def as_scores(values: np.ndarray[Any, Any]) -> dict[int, list[float]]:
    return {s: list(map(float, row)) for s, row in enumerate(values)}


def test_mean_squares_by_brute_force():
    d = draw(3, seeds=4, n=5)
    made = two_way(d.tolist(), range(4))
    assert made is not None
    grand = d.mean()
    seeds = [5 * (d[s].mean() - grand) ** 2 for s in range(4)]
    items = [4 * (d[:, i].mean() - grand) ** 2 for i in range(5)]
    both = [(d[s, i] - d[s].mean() - d[:, i].mean() + grand) ** 2 for s in range(4) for i in range(5)]
    assert made.ms_seeds == pytest.approx(sum(seeds) / 3)
    assert made.ms_items == pytest.approx(sum(items) / 4)
    assert made.ms_both == pytest.approx(sum(both) / 12)
    assert made.variance == pytest.approx(
        max(made.ms_seeds + made.ms_items - made.ms_both, made.ms_seeds, made.ms_items) / 20
    )


def test_the_issue_in_numbers():
    """Two seeds, two items, by hand: differences 3 1 / 1 -1, so no interaction, and 4 of either mean square."""
    one = found(stats.score({0: [3.0, 1.0], 1: [1.0, -1.0]}))
    t = table(one)
    assert (t.mean, t.ms_seeds, t.ms_items, t.ms_both) == (1.0, 4.0, 4.0, 0.0)
    assert one.stderr == pytest.approx(math.sqrt(8 / 4))
    # SE^4 / (1^2 / 1 + 1^2 / 1 + 0) = 4 / 2
    assert one.df == pytest.approx(2.0)
    assert one.half() == pytest.approx(4.302653 * math.sqrt(2), rel=1e-6)


def test_one_seed_is_the_paired_t_test_over_items(rng: random.Random):
    scipy_stats = pytest.importorskip("scipy.stats")
    a, b = ([rng.random() for _ in range(15)] for _ in range(2))
    one = found(stats.compare({0: a}, {0: b}))
    theirs = scipy_stats.ttest_rel(a, b)
    assert (one.p, one.df) == (pytest.approx(theirs.pvalue, rel=1e-9), pytest.approx(14))
    interval = theirs.confidence_interval(0.95)
    assert one.mean - one.half() == pytest.approx(interval.low) and one.mean + one.half() == pytest.approx(
        interval.high
    )
    assert one.seeds_unseen and not one.markable


def test_where_only_seeds_vary_it_is_the_t_test_over_seeds(rng: random.Random):
    scipy_stats = pytest.importorskip("scipy.stats")
    means = [rng.random() for _ in range(5)]
    one = found(stats.score({s: [m] * 60 for s, m in enumerate(means)}))
    theirs = scipy_stats.ttest_1samp(means, 0.0)
    assert one.df == pytest.approx(4) and one.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_where_only_items_vary_it_is_the_t_test_over_items(rng: random.Random):
    scipy_stats = pytest.importorskip("scipy.stats")
    scores = [rng.gauss(0.2, 1) for _ in range(30)]
    one = found(stats.score({s: scores for s in range(3)}))
    assert one.df == pytest.approx(29)
    assert one.p == pytest.approx(scipy_stats.ttest_1samp(scores, 0.0).pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_brute_force_permutation_agrees(seed: int):
    """All sign flips of whole items (of whole seeds), where those are all that varies: p within two percent."""
    rng = np.random.default_rng(seed)
    over_items = rng.normal(0.35, 1.0, size=14)
    over_seeds = rng.normal(0.45, 1.0, size=12)
    for values, made in (
        (over_items, stats.score({s: list(over_items) for s in range(2)})),
        (over_seeds, stats.score({s: [v] * 6 for s, v in enumerate(over_seeds)})),
    ):
        flips = np.array(list(itertools.product((1, -1), repeat=len(values))))
        exact = float((np.abs(flips @ values) >= abs(values.sum()) - 1e-9).mean())
        assert found(made).p == pytest.approx(exact, abs=0.02)


def test_the_variance_is_that_of_the_mean_over_both():
    """Simulated: what is estimated is the variance of means over tables that are drawn anew, seeds and items both."""
    means, estimates = [], []
    for seed in range(3000):
        made = two_way(draw(seed).tolist(), range(3))
        assert made is not None
        means.append(made.mean)
        estimates.append((made.ms_seeds + made.ms_items - made.ms_both) / made.cells)
    assert stats.mean(estimates) == pytest.approx(0.5**2 / 3 + 0.7**2 / 20 + 1 / 60, rel=0.06)
    assert np.var(means) == pytest.approx(stats.mean(estimates), rel=0.08)


def test_what_varies_by_nothing_has_the_exact_p_of_its_items():
    one = found(stats.compare({s: [1.0] * 4 for s in range(3)}, {s: [0.0] * 4 for s in range(3)}))
    assert (one.mean, one.stderr, one.half(), one.p) == (1.0, 0.0, 0.0, 2 / 2**4)
    same = found(stats.compare({0: [0.3] * 40}, {0: [0.3] * 40}))
    assert (same.mean, same.p) == (0.0, 1.0) and same.equivalence_p(0.02) == 2**-40
    few = found(stats.compare({s: [1.0] * 4 + [0.0] * 96 for s in range(3)}, {s: [0.0] * 100 for s in range(3)}))
    assert few.p == 2 / 2**4 > student.t_p(few.mean / few.stderr, few.df), "four items of four, as McNemar has it"
    third = found(stats.compare({s: [0.1 + 0.2] * 30 for s in range(3)}, {s: [0.0] * 30 for s in range(3)}))
    assert third.stderr == 0.0, "rounding is no variance"


# ---- clusters


def test_clusters_are_millers():
    rng = np.random.default_rng(5)
    d, clusters = rng.normal(size=12), [0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 4, 4]
    one = found(stats.score({0: list(d)}, {0: clusters}))
    by_hand = sum(sum(d[i] - d.mean() for i in range(12) if clusters[i] == c) ** 2 for c in range(5)) / 12**2
    assert one.mean == pytest.approx(d.mean()) and table(one).units == 5 and one.items == 12
    assert one.stderr**2 == pytest.approx(by_hand * 5 / 4), "with its small-sample factor C / (C - 1)"


def test_items_of_one_passage_are_no_independent_draws():
    rng = np.random.default_rng(1)
    passages = rng.normal(size=10)
    scores = {s: list(np.repeat(passages, 8)) for s in range(3)}
    clusters = {0: list(np.repeat(np.arange(10), 8))}
    apart, together = found(stats.score(scores)), found(stats.score(scores, clusters))
    assert together.mean == pytest.approx(apart.mean)
    assert together.stderr == pytest.approx(found(stats.score({s: list(passages) for s in range(3)})).stderr)
    assert together.stderr > 2.5 * apart.stderr
    alone = found(stats.score(scores, {0: list(range(80))}))
    assert alone.stderr == pytest.approx(apart.stderr), "a cluster an item: nothing changes"


# ---- what may be paired


def scores(rng: random.Random, seeds: range = range(3)) -> dict[int, list[float]]:
    return {s: [float(rng.random() < 0.6) for _ in range(12)] for s in seeds}


def test_compare_is_antisymmetric(rng: random.Random):
    a, b = scores(rng), scores(rng)
    one, other = found(stats.compare(a, b)), found(stats.compare(b, a))
    assert one.mean == -other.mean
    assert (one.p, one.stderr, one.items, one.df) == (other.p, other.stderr, other.items, other.df)
    assert one.by_seed == {s: -d for s, d in other.by_seed.items()}


def test_compare_knows_no_order_of_seeds(rng: random.Random):
    a, b = scores(rng), scores(rng)
    assert stats.compare(dict(reversed(a.items())), b) == stats.compare(a, b)


def test_a_missing_seed_is_no_reason_to_look_at_the_others():
    full = {s: [1.0, 0.0, 1.0] for s in range(3)}
    assert stats.compare(full, {s: full[s] for s in (0, 1)}) is None
    assert stats.compare({0: [1.0, 0.0]}, {1: [1.0, 0.0]}) is None
    assert stats.compare({}, {}) is None


def test_what_cannot_be_paired_is_not_compared():
    assert stats.compare({0: [1.0, 0.0]}, {0: [1.0, 0.0, 1.0]}) is None
    assert stats.compare({0: []}, {0: []}) is None
    assert stats.compare({0: [1.0]}, {0: [0.0]}) is None, "one item has no variance"
    assert stats.compare({0: [1.0, 1.0], 1: [1.0]}, {0: [1.0, 0.0], 1: [1.0]}) is None
    assert stats.score({0: [1.0, 1.0], 1: [1.0]}) is None


def test_what_is_not_trained_is_the_same_at_every_seed(rng: random.Random):
    tuned, untouched = scores(rng), {0: [1.0, 0.0] * 6}
    assert stats.compare(tuned, untouched) is None
    one = found(stats.compare(tuned, untouched, fixed=(False, True)))
    assert one == stats.compare(tuned, {s: untouched[0] for s in range(3)})
    both = found(stats.compare({0: [0.0] * 12}, untouched, fixed=(True, True)))
    assert both.markable and not both.seeds_unseen and both.df == pytest.approx(11)


@pytest.mark.parametrize(("seeds", "marks"), [(1, False), (2, False), (3, True), (5, True)])
def test_marks_need_three_seeds(seeds: int, marks: bool):
    rng = random.Random(0)
    good = {s: [float(rng.random() < 0.95) for _ in range(100)] for s in range(seeds)}
    bad = {s: [float(rng.random() < 0.2) for _ in range(100)] for s in range(seeds)}
    one = found(stats.compare(good, bad))
    assert one.markable is marks
    assert stats.verdicts({"x": one})["x"] == (stats.BETTER if marks else stats.UNTESTED)
    assert stats.discoveries({"x": one})["x"] == (stats.BETTER if marks else stats.UNTESTED)


def test_one_lucky_seed_is_no_gain():
    rng = random.Random(0)
    base = [float(rng.random() < 0.5) for _ in range(100)]
    lucky = {0: [1.0] * 100, 1: base, 2: base}
    one = found(stats.compare(lucky, {s: base for s in range(3)}))
    assert one.mean > 0.15 and one.p > 0.3
    assert stats.verdicts({"x": one})["x"] == stats.SAME


# ---- several tasks


def test_combine_is_the_plain_average_with_satterthwaites_degrees():
    one, two = found(stats.score(as_scores(draw(1)))), found(stats.score(as_scores(draw(2, n=50))))
    both = stats.combine([one, two])
    assert both.mean == pytest.approx((one.mean + two.mean) / 2)
    assert both.stderr == pytest.approx(math.hypot(one.stderr, two.stderr) / 2)
    below = 0.0
    for effect in (one, two):
        t = table(effect)
        for ms, nu in ((t.ms_seeds, 2), (t.ms_items, t.units - 1), (t.ms_both, 2 * (t.units - 1))):
            below += (ms / (t.cells * 4)) ** 2 / nu
    assert both.df == pytest.approx(both.stderr**4 / below)
    assert both.p == pytest.approx(student.t_p(both.mean / both.stderr, both.df))
    assert both.seeds == 3 and both.items == 70
    assert stats.combine([one]) == one


def test_one_task_that_carries_an_average_is_seen():
    a, b, c = (found(stats.score({s: [v, v + 0.01] for s in range(3)})) for v in (0.3, 0.01, 0.0))
    both = stats.combine([a, b, c])
    assert both.without_one == (pytest.approx(0.01), pytest.approx(0.16))
    assert a.without_one is None


def test_intervals_cover_at_their_level():
    """Nominal .95 over tables with 3 seeds, of 3 tasks; with the standard error over items alone it is about .7."""
    covered = 0
    for seed in range(600):
        parts = [found(stats.score(as_scores(draw(10 * seed + t, n=40, spread=0.4)))) for t in range(3)]
        both = stats.combine(parts)
        covered += abs(both.mean) <= both.half()
    assert 0.93 <= covered / 600 <= 0.995


# ---- as good as


def test_equality_needs_its_own_test():
    rng = np.random.default_rng(0)
    close = found(stats.score(as_scores(rng.normal(0.001, 0.05, size=(3, 400)))))
    far = found(stats.score(as_scores(rng.normal(0.03, 0.05, size=(3, 400)))))
    vague = found(stats.score(as_scores(draw(1))))
    assert close.equivalent(0.02) and not far.equivalent(0.02) and not vague.equivalent(0.02)
    for one in (close, far, vague):
        bound = abs(one.mean) + student.t_quantile(0.95, one.df) * one.stderr
        assert one.equivalent(0.02) is (bound < 0.02)
    told = stats.verdicts({"close": close, "vague": vague, "none": None})
    assert told == {"close": stats.EQUAL, "vague": stats.SAME, "none": stats.UNTESTED}


def test_equality_is_corrected_too():
    rng = np.random.default_rng(3)
    one = found(stats.score(as_scores(rng.normal(0.0, 0.25, size=(3, 400)))))
    assert 0.005 < one.equivalence_p(0.02) < 0.05
    assert stats.verdicts({"x": one})["x"] == stats.EQUAL
    vague = found(stats.score(as_scores(draw(1))))
    assert stats.verdicts({"x": one} | {str(i): vague for i in range(20)})["x"] == stats.SAME


# ---- power


def test_more_seeds_find_smaller_differences():
    one = found(stats.score(as_scores(draw(4, n=200))))
    powers = [one.power(0.5, seeds) for seeds in (3, 5, 10, 100)]
    assert powers == sorted(powers) and 0 < powers[0] < powers[-1] <= 1  # type: ignore[type-var, operator]
    needed = one.seeds_needed(0.5)
    assert needed is not None
    assert one.power(0.5, needed) >= 0.8 > one.power(0.5, needed - 1)  # type: ignore[operator]
    assert one.seeds_needed(1e-4) is None, "the items alone hide it"
    assert found(stats.score({0: [0.0, 1.0, 1.0]})).power(0.1, 5) is None, "one seed says nothing of others"


def test_power_is_what_repeating_gives():
    one = Effect((OnTask((TwoWay(0.3, ((0, 0.3), (1, 0.3), (2, 0.3)), 20, 20, 0.5 * 3 + 1, 0.25 * 20 + 1, 1.0, 20),)),))
    expected = one.power(0.7, 5)
    rejected = 0
    for seed in range(800):
        rng = np.random.default_rng(seed)
        d = 0.7 + 0.5 * rng.normal(size=(5, 1)) + math.sqrt(0.5) * rng.normal(size=(1, 20)) + rng.normal(size=(5, 20))
        again = found(stats.score(as_scores(d)))
        rejected += again.p < 0.05 and again.mean > 0
    assert rejected / 800 == pytest.approx(expected, abs=0.06)
    still = Effect((OnTask((TwoWay(0.0, ((0, 0.0), (1, 0.0), (2, 0.0)), 20, 20, 0.0),)),))
    assert (still.power(0.01, 5), still.power(0.0, 5), still.power(0.0, 5, 0.2)) == (1.0, 0.025, 0.1)
    assert one.power(0.0, 5) == pytest.approx(0.025, rel=1e-3), "in the right direction alone"


# ---- splits


def test_splits_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    same = {Draw(k, s): list(rng.normal(0.1, 0.3, size=200)) for k in range(3) for s in range(3)}
    moved = {Draw(k, s): [v + 0.5 * k for v in values] for (k, s), values in same.items()}
    one, other = found(stats.score(same)), found(stats.score(moved))
    assert one.items == 600 and one.seeds == 3 and one.stderr < 0.05
    spread = stats.sample_std([t.mean for t in other.tasks[0].splits])
    assert other.stderr == pytest.approx(spread / math.sqrt(3)) and other.df == pytest.approx(2)  # type: ignore[operator]
    assert stats.compare(same, {d: v for d, v in same.items() if d.split < 2}) is None


def test_scores_whose_items_were_not_kept():
    one = found(stats.of_values({0: 0.7, 1: 0.8, 2: 0.9}, 0.04, 100))
    assert one.mean == pytest.approx(0.8)
    assert one.stderr == pytest.approx(math.sqrt(0.1**2 / 3 + 0.04**2))
    assert stats.of_values({0: 0.7}, 0.0, 1) is None


# ---- the guard


def test_gamma_functions_are_scipys():
    special = pytest.importorskip("scipy.special")
    for x in (0.05, 0.5, 1.0, 1.5, 7.3, 40.0):
        assert prior.digamma(x) == pytest.approx(special.digamma(x), rel=1e-10, abs=1e-10)
        assert prior.trigamma(x) == pytest.approx(special.polygamma(1, x), rel=1e-10)
        assert prior.trigamma(prior._inverse_trigamma(x)) == pytest.approx(x)


def spread(variances, units=100, seeds=3):
    """Effects whose tables have these variances between seeds, of the mean over items."""
    by_seed = tuple((s, 0.1) for s in range(seeds))
    return [Effect((OnTask((TwoWay(0.1, by_seed, units, units, 0.2, v * units, 0.05, 50),)),)) for v in variances]


@pytest.mark.parametrize("df", [3.0, 8.0])
def test_the_prior_of_variances_is_found_again(df: float):
    rng = np.random.default_rng(0)
    true = 0.01 * df / rng.chisquare(df, size=4000)
    measured = true * rng.chisquare(2, size=4000) / 2
    got = prior.fitted(spread(measured))
    assert got is not None
    assert got.df == pytest.approx(df, rel=0.15) and got.variance == pytest.approx(0.01, rel=0.08)


def test_alike_variances_are_one_and_few_are_no_evidence():
    got = prior.fitted(spread([0.01] * 20))
    assert got is not None and got.df == prior.MOST_DF
    (one,) = spread([1e-9])
    moderated = got.of(one)
    assert table(moderated).ms_seeds == pytest.approx(got.variance * 100, rel=1e-3) and moderated.p > one.p
    assert table(moderated).terms[0][1] > 1e5
    assert prior.fitted(spread([0.01] * 7)) is None and prior.fitted(spread([0.01] * 8)) is not None
    nowhere = [Effect((OnTask((TwoWay(0.0, ((0, 0.0), (1, 0.0)), 9, 9, 0.0),)),))] * 20
    assert prior.fitted(nowhere) is None and got.of(nowhere[0]) == nowhere[0], "what differs nowhere is no evidence"


def test_three_seeds_that_lie_close_are_no_proof():
    """Among comparisons whose seeds are far apart, one whose seeds happen to agree is not sure; alone it would be."""
    rng = np.random.default_rng(1)
    noisy = {f"n{k}": found(stats.score(as_scores(draw(k, n=100, spread=0.8)))) for k in range(30)}
    base = rng.normal(0.4, 1.0, size=100)
    close = found(stats.score({s: list(base + rng.normal(0, 0.3, size=100)) for s in range(3)}))
    alone, among = stats.corrected({"x": close})["x"], stats.corrected({"x": close, **noisy})["x"]
    assert close.p < 1e-3 and alone == close.p
    assert among > 31 * close.p and among > 0.5


def test_counts_are_corrected_too():
    near = found(stats.score({s: list(np.random.default_rng(4).normal(0.3, 1.0, size=100)) for s in range(3)}))
    none = found(stats.score({s: [0.1, -0.1] * 50 for s in range(3)}))
    assert 0.01 < near.p < 0.05
    assert stats.discoveries({"x": near})["x"] == stats.BETTER
    assert stats.discoveries({"x": near} | {str(k): none for k in range(20)})["x"] == stats.SAME


# ---- the one place


def test_nothing_else_makes_an_error_bar():
    """Square roots, standard deviations of means and quantiles are of report/stats, and of the model that tests it."""
    root = Path(stats.__file__).parents[2]
    own = {"simulated.py", "factors.py"}  # factors: the terms that count of a noncentral F
    for path in [*(root / "report").glob("*.py"), *(root / "cli").glob("*.py")]:
        called = {
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        }
        found = called & {"sqrt", "stdev", "pstdev", "variance", "t_quantile", "erf", "erfc", "std", "var"}
        assert not found or path.name in own, (path.name, found)


def test_between_splits_there_is_one_degree_of_freedom_less_than_splits():
    """Three splits with nothing between seeds and items: their means, 0.1, 0.2 and 0.6, are all that differs."""
    effect = stats.score({Draw(k, s): [mean] * 4 for k, mean in enumerate((0.1, 0.2, 0.6)) for s in range(2)})
    assert effect.mean == pytest.approx(0.3) and effect.df == pytest.approx(2)
    assert effect.stderr == pytest.approx((0.07 / 3) ** 0.5)  # variance (0.04 + 0.01 + 0.09) / 2
    assert effect.half() == pytest.approx(4.302653 * effect.stderr, rel=1e-5)


def test_no_variance_between_seeds_is_taken_for_half_an_item():
    none, half = (prior.fitted(spread([v] * 8, units=50)) for v in (0.0, 0.01**2))
    assert none is not None and half is not None and none.variance == pytest.approx(half.variance)


@pytest.mark.parametrize(("stderr", "equal"), [(0.0100, True), (0.0120, True), (0.0123, False), (0.0200, False)])
def test_equality_is_shown_at_five_percent(stderr, equal):
    """Two one-sided tests of a difference of nought: 1.645 standard errors within the margin."""
    assert found(stats.of_values({0: 0.0}, stderr, 10**6)).equivalent(0.02) is equal
