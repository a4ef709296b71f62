"""Statistics against numbers worked out by hand, against scipy, and their properties."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest

from zobench.report import stats


@pytest.fixture(params=range(12))
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Twelve draws, the same each time."""
    return random.Random(request.param)


def accuracies(rng: random.Random, most: int = 40) -> list[float]:
    return [rng.choice([-1.0, 0.0, 1.0]) for _ in range(rng.randint(1, most))]


def f1s(rng: random.Random, most: int = 40) -> list[float]:
    return [round(rng.uniform(-1, 1), 6) for _ in range(rng.randint(1, most))]


def test_means_and_spreads_by_hand():
    assert stats.mean([1, 2, 6]) == 3
    assert stats.sample_std([1, 2, 6]) == pytest.approx(math.sqrt(7))
    assert stats.sample_std([5]) is None
    assert stats.mean_stderr([1, 2, 6]) == pytest.approx(math.sqrt(7 / 3))
    assert stats.geometric_mean([1, 4]) == pytest.approx(2)


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


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [(1, 0, 1.0), (2, 0, 0.5), (5, 0, 2 / 32), (6, 0, 2 / 64), (3, 1, 10 / 16), (2, 2, 1.0), (7, 2, 2 * 46 / 512)],
)
def test_sign_flip_of_accuracies_is_mcnemars_exact_test(won: int, lost: int, p: float):
    assert stats.sign_flip([1.0] * won + [-1.0] * lost + [0.0] * 30) == pytest.approx(p)


@pytest.mark.parametrize(("won", "lost"), [(400, 300), (30, 12), (1, 9), (500, 500)])
def test_large_mcnemar_agrees_with_scipy(won: int, lost: int):
    binomtest = pytest.importorskip("scipy.stats").binomtest
    ours = stats.sign_flip([1.0] * won + [-1.0] * lost)
    assert ours == pytest.approx(binomtest(won, won + lost).pvalue, rel=1e-9)


def test_sign_flip_of_averages_over_seeds_by_hand():
    # sizes 1 and 1/2 and 1/2: sums 2 (and -2) have probability 1/4 together
    assert stats.sign_flip([1.0, 0.5, 0.5]) == pytest.approx(0.25)
    # observed 1: of +-1 +-1/2 +-1/2, |sum| >= 1 but for (1, -1/2, -1/2) and its mirror
    assert stats.sign_flip([1.0, 0.5, -0.5]) == pytest.approx(0.75)


def brute(differences: list[float]) -> float:
    observed = abs(math.fsum(differences)) - 1e-9
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    return sum(abs(math.fsum(s * d for s, d in zip(f, differences, strict=True))) >= observed for f in flips) / len(
        flips
    )


def test_few_differences_are_exact(rng: random.Random):
    differences = f1s(rng, most=9)
    assert stats.sign_flip(differences) == pytest.approx(brute(differences), abs=1e-9)


def test_three_seeds_of_accuracies_are_exact(rng: random.Random):
    differences = [rng.randint(-3, 3) / 3 for _ in range(rng.randint(1, 9))]
    rounded = [round(d, 6) for d in differences]  # as records keep them
    assert stats.sign_flip(rounded) == pytest.approx(brute(differences), abs=1e-9)


def test_the_approximation_meets_the_exact_test():
    rng = random.Random(0)
    sizes = [rng.choice([0.25, 0.5, 1.0]) * rng.choice([1, 1, -1]) for _ in range(stats.LATTICE)]
    exact = stats.sign_flip(sizes)
    approximate = stats.sign_flip([d + rng.uniform(-1e-3, 1e-3) for d in sizes])
    assert exact == pytest.approx(approximate, rel=0.15)


@pytest.mark.parametrize("kind", ["accuracy", "f1"])
def test_sign_flip_keeps_its_level(kind: str):
    """Where there is no difference, p < 0.05 in at most about 5 % of samples."""
    rng = random.Random(1)
    draw = (lambda: rng.choice([-1.0, 0.0, 0.0, 1.0])) if kind == "accuracy" else (lambda: rng.gauss(0, 0.3))
    rejected = sum(stats.sign_flip([draw() for _ in range(80)]) < 0.05 for _ in range(1000))
    assert 15 <= rejected <= 70


@pytest.mark.parametrize("draw", [accuracies, f1s])
def test_sign_flip_knows_no_order_no_side_and_no_unit(draw: Callable[..., list[float]], rng: random.Random):
    differences = draw(rng)
    p = stats.sign_flip(differences)
    assert 0 <= p <= 1
    shuffled = list(differences)
    rng.shuffle(shuffled)
    assert stats.sign_flip(shuffled) == p
    assert stats.sign_flip([-d for d in differences]) == p
    assert stats.sign_flip([d / 4 for d in differences]) == pytest.approx(p)


def test_no_difference_is_no_evidence():
    assert stats.sign_flip([0.0] * 50) == 1.0
    assert stats.sign_flip([]) == 1.0


def scores(rng: random.Random) -> dict[int, list[float]]:
    return {s: [float(rng.random() < 0.6) for _ in range(12)] for s in rng.sample(range(4), rng.randint(1, 3))}


def test_compare_is_antisymmetric(rng: random.Random):
    a, b = scores(rng), scores(rng)
    one, other = stats.compare(a, b), stats.compare(b, a)
    if one is None or other is None:
        assert one is other and not set(a) & set(b)
        return
    assert one.difference == -other.difference
    assert (one.p, one.stderr, one.items, one.seeds_agree) == (other.p, other.stderr, other.items, other.seeds_agree)
    assert one.by_seed == {s: -d for s, d in other.by_seed.items()}
    assert not (one.holds(one.p) and other.holds(other.p))


def test_compare_by_hand():
    a = {0: [1.0, 1.0, 0.0, 1.0], 1: [1.0, 0.0, 0.0, 1.0], 2: [1.0] * 4}
    b = {0: [0.0, 1.0, 0.0, 1.0], 1: [0.0, 1.0, 0.0, 0.0], 5: [0.0] * 4}
    found = stats.compare(a, b)
    assert found is not None
    assert found.by_seed == {0: 0.25, 1: 0.25}
    assert found.difference == 0.25  # items: 1, -1/2, 0, 1/2
    assert found.p == pytest.approx(0.75)
    assert found.items == 4
    assert found.stderr == pytest.approx(math.sqrt((0.75**2 + 0.75**2 + 0.25**2 + 0.25**2) / 3 / 4))
    assert math.fsum(found.weighted) == pytest.approx(found.difference)


def test_what_cannot_be_paired_is_not_compared():
    assert stats.compare({0: [1.0]}, {1: [1.0]}) is None
    assert stats.compare({0: [1.0, 0.0]}, {0: [1.0]}) is None
    assert stats.compare({0: []}, {0: []}) is None
    assert stats.compare({0: [1.0], 1: [1.0, 1.0]}, {0: [1.0], 1: [1.0, 0.0]}) is None


def seeds(*differences: float) -> stats.Comparison:
    return stats.Comparison(0.1, 0.01, 1e-6, 100, dict(enumerate(differences)), (0.1,))


@pytest.mark.parametrize(
    ("differences", "agree"),
    [
        ((0.1,), True),  # one seed says nothing against
        ((0.1, 0.1), True),
        ((0.1, 0.04), True),  # 0.07 is over twice 0.03
        ((0.15, 0.045), False),  # 0.0975 is under twice 0.0525
        ((0.3, -0.1), False),
        ((0.1, 0.12, 0.09, 0.02), True),
        ((0.4, 0.0, 0.0, 0.0), False),
    ],
)
def test_one_lucky_seed_is_no_gain(differences: tuple[float, ...], agree: bool):
    assert seeds(*differences).seeds_agree is agree
    assert seeds(*differences).holds(0.001) is agree
    assert not seeds(*differences).holds(0.05)


def test_combine_averages_tasks():
    big = stats.compare({0: [1.0] * 50 + [0.0] * 50}, {0: [0.0] * 100})
    small = stats.compare({0: [0.0] * 10, 1: [0.0] * 10}, {0: [1.0] + [0.0] * 9, 1: [0.0] * 10})
    assert big is not None and small is not None
    both = stats.combine([big, small])
    assert both.difference == pytest.approx((0.5 - 0.05) / 2)
    assert both.by_seed == {0: pytest.approx((0.5 - 0.1) / 2)}
    assert both.stderr == pytest.approx(math.hypot(big.stderr, small.stderr) / 2)
    assert both.p < 1e-6
    assert stats.combine([big]).p == pytest.approx(big.p)
