"""Ranks with their intervals, Friedman's test, performance profiles, factors; and the commands that show them."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from kits.records import items, record

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import factors, ranking, stats, store
from zobench.report.record import NO_SELECTOR
from zobench.report.sections import sections


def section(records):
    (made,) = sections(records)
    return made


def board(right, tasks=("a", "b"), selector="all", **more):
    return [
        record(name, selector, task, seed, test=items(n, shuffle=(task, seed)), **more)
        for name, seeds in right.items()
        for seed, n in enumerate(seeds)
        for task in tasks
    ]


def test_ranks_share_what_is_equal():
    assert stats.ranks([0.5, 0.9, 0.5, 0.1]) == [2.5, 1.0, 2.5, 4.0]
    assert stats.ranks([1.0, 1.0 + 1e-12, 1.0]) == [2.0, 2.0, 2.0], "rounding makes no ranks"
    assert stats.ranks([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_friedman_is_scipys(seed: int):
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    scores = np.round(rng.random((12, 5)) + 0.1 * np.arange(5), 1)  # with ties
    ours = stats.friedman(scores.tolist())
    theirs = scipy_stats.friedmanchisquare(*scores.T)
    assert ours.chi2 == pytest.approx(theirs.statistic) and ours.p_chi2 == pytest.approx(theirs.pvalue)
    k, n = 5, 12
    q = scipy_stats.studentized_range.ppf(0.95, k, 1e7) / math.sqrt(2)
    assert ours.critical_difference == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * n)), rel=1e-4)


def test_friedman_at_its_ends():
    same = stats.friedman([[1.0, 1.0], [1.0, 1.0]])
    assert same.chi2 == 0.0 and same.p == 1.0
    sure = stats.friedman([[3.0, 2.0, 1.0]] * 12)
    assert sure.mean_ranks == (1.0, 2.0, 3.0) and sure.p == 0.0
    with pytest.raises(ValueError, match="two tasks and methods"):
        stats.friedman([[1.0, 2.0]])


def test_cliques_are_the_largest_groups():
    assert stats.cliques([1.0, 1.5, 3.0, 3.2], 1.0) == [(0, 1), (2, 3)]
    assert stats.cliques([3.0, 1.0, 2.0], 1.5) == [(1, 2), (2, 0)]
    assert stats.cliques([1.0, 2.0, 3.0], 5.0) == [(0, 1, 2)]
    assert stats.cliques([1.0, 5.0], 1.0) == []


def test_rank_intervals_are_narrow_where_ranks_are_sure():
    rng = np.random.default_rng(0)

    def task(scores):
        return [[(rng.random(200) < p).astype(float).tolist() for _ in range(3)] for p in scores]

    sure = stats.rank_intervals([task((0.9, 0.5, 0.1)) for _ in range(2)])
    assert [one for one in sure] == [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (3.0, 3.0, 3.0)]
    close = stats.rank_intervals([task((0.51, 0.5, 0.1)) for _ in range(2)])
    assert {one[1:] for one in close[:2]} == {(1.0, 2.0)} and close[2][1:] == (3.0, 3.0)
    assert stats.rank_intervals([[[[1.0, 0.0]] * 3] * 2]) == [(1.5, 1.5, 1.5)] * 2, "the same method twice"


def test_a_lucky_seed_leaves_a_rank_open():
    base = [1.0, 0.0] * 50
    lucky = [[1.0] * 100, base, base]
    ((_, low, high), _) = stats.rank_intervals([[lucky, [[1.0] * 55 + [0.0] * 45] * 3]])
    assert (low, high) == (1.0, 2.0)


def test_profiles_count_tasks():
    costs = [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.0}, {"b": 1.0}, {"a": 0.0, "b": 0.0}]
    assert stats.profile(costs, (1.0, 2.0, 3.0)) == {"a": [0.5, 0.5, 0.75], "b": [0.75, 1.0, 1.0]}


RIGHT = {"mezo": (60, 62, 61), "lozo": (80, 82, 81), "fzoo": (81, 80, 82)}


def test_a_page_of_ranks():
    found = ranking.ranked(section(board(RIGHT)))
    assert [one.row.method for one in found] == ["fzoo", "lozo", "mezo"] or found[0].rank == found[1].rank
    assert found[-1].row.method == "mezo" and (found[-1].low, found[-1].high) == (3.0, 3.0)
    said = ranking.markdown(section(board(RIGHT)))
    assert "Friedman's test is shown from 10 tasks on: ranks over 2 are few." in said
    assert "| mezo     | all        |      3 | 3 to 3 |" in said
    (heading,) = [line for line in said.splitlines() if "τ = 1 " in line]
    assert [cell.strip() for cell in heading.split("|")[2:-1]] == [
        f"τ = {tau:g}" for tau in (1, 1.1, 1.25, 1.5, 2, 3, 5)
    ]
    ten = board({k: RIGHT[k] for k in ("mezo", "lozo")}, tasks=[f"t{i}" for i in range(10)])
    said = ranking.markdown(section(ten))
    assert (
        "Critical difference of two mean ranks (Nemenyi, 5 %): 0.62." in said
        and "All mean ranks are told apart." in said
    )


def test_profiles_of_a_section_are_of_what_is_asked():
    made = section(board(RIGHT))
    assert ranking.profiles(made, "error", (1.0, 1.9, 3.0))["mezo / all"] == [0.0, 0.0, 1.0]  # 39 wrong against 19
    assert ranking.profiles(made, "forwards", (1.0,)) == {f"{n} / all": [1.0] for n in RIGHT}
    assert ranking.profiles(made, "seconds", (1.0,)) == {}, "no record says them"


def test_seconds_are_compared_where_every_run_says_them():
    records = board(RIGHT)
    for one in records:
        one["time"]["train_s"] = 2.0 if one["cell"]["estimator"] == "mezo" else 1.0
    of_all = {"mezo / all": [0.0, 1.0], "lozo / all": [1.0, 1.0], "fzoo / all": [1.0, 1.0]}
    assert ranking.profiles(section(records), "seconds", (1.0, 2.0)) == of_all
    for one in records:
        if (one["cell"]["estimator"], one["cell"]["seed"]) == ("fzoo", 2):
            del one["time"]["train_s"]
    del of_all["fzoo / all"]
    assert ranking.profiles(section(records), "seconds", (1.0, 2.0)) == of_all


def test_ranks_are_of_what_trains():
    made = section([*board(RIGHT), *board({"answers": (90, 90, 90)}, selector=NO_SELECTOR)])
    assert "answers" in {row.estimator for row in made.rivals}
    assert {one.row.estimator for one in ranking.ranked(made)} == set(RIGHT)


def test_ranks_need_seeds():
    with pytest.raises(ZobenchError, match="two methods with 3 seeds or more"):
        ranking.ranked(section(board({"mezo": (60, 61), "lozo": (70, 71)})))


# ---- factors


def grid(seed=0, seeds=3):
    rng = random.Random(seed)
    levels = {"estimator": ["e0", "e1", "e2"], "selector": ["s0", "s1"], "task": ["t0", "t1", "t2", "t3"]}
    keys = list(itertools.product(*levels.values()))
    return {key: [rng.random() for _ in range(seeds)] for key in keys}, levels


def test_squares_add_up_and_so_do_degrees():
    scores, levels = grid()
    found = factors.analyse(scores, levels)
    every = [100 * x for of in scores.values() for x in of]
    assert sum(one.squares for one in found) == pytest.approx(sum((x - np.mean(every)) ** 2 for x in every))
    assert sum(one.df for one in found) == len(every) - 1 and sum(one.share for one in found) == pytest.approx(1.0)
    assert [one.name for one in found][:3] == ["estimator", "selector", "task"] and found[-1].name == "seeds"


def test_squares_by_brute_force():
    """Least squares on indicator variables: what a factor adds to the factors below it."""
    scores, levels = grid(1)
    y = np.asarray([100 * x for of in scores.values() for x in of])
    cells = [key for key, of in scores.items() for _ in of]

    def design(which):
        own = sorted({tuple(key[i] for i in which) for key in cells})
        return np.asarray([[tuple(key[i] for i in which) == at for at in own] for key in cells], dtype=float)

    def rest(*terms):
        x = np.hstack([np.ones((len(y), 1)), *(design(which) for which in terms)])
        return float(((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2).sum())

    found = {one.name: one for one in factors.analyse(scores, levels)}
    assert found["estimator"].squares == pytest.approx(rest() - rest((0,)))
    assert found["estimator x selector"].squares == pytest.approx(rest((0,), (1,)) - rest((0, 1)))
    assert found["seeds"].squares == pytest.approx(rest((0, 1, 2)))
    three = rest((0, 1), (0, 2), (1, 2)) - rest((0, 1, 2))
    assert found["estimator x selector x task"].squares == pytest.approx(three)


def test_an_estimator_is_held_against_how_it_varies_by_task():
    """e1 is better by 10 points on one task alone: sure of that task, not of tasks at large."""
    scores, levels = grid()
    rng = random.Random(0)
    scores = {key: [0.5 + rng.gauss(0, 0.005) for _ in range(3)] for key in scores}
    for key in scores:
        if key[0] == "e1" and key[2] == "t0":
            scores[key] = [x + 0.1 for x in scores[key]]
    found = {one.name: one for one in factors.analyse(scores, levels)}
    assert found["estimator"].p is not None and found["estimator"].p > 0.2
    assert found["estimator x task"].p is not None and found["estimator x task"].p < 1e-6
    even = {key: [x + (0.1 if key[0] == "e1" and key[2] != "t0" else 0.0) for x in of] for key, of in scores.items()}
    everywhere = {one.name: one for one in factors.analyse(even, levels)}
    assert everywhere["estimator"].p is not None and everywhere["estimator"].p < 1e-3
    assert everywhere["selector"].p is not None and everywhere["selector"].p > 0.01


def test_the_largest_whole_grid_is_taken():
    made = [*board(RIGHT), *board({"mezo": (50, 51, 52), "lozo": (60, 61, 62)}, selector="layer")]
    _, levels = factors.balanced(section(made))
    assert levels == {"estimator": ["lozo", "mezo"], "selector": ["all", "layer"], "task": ["a", "b"]}
    said = factors.markdown(section(made))
    assert "2 estimators (lozo, mezo); 2 selectors (all, layer); 2 tasks (a, b); 3 seeds each" in said
    with pytest.raises(ZobenchError, match="two methods at least that share a selector"):
        factors.balanced(section(board({"mezo": (60, 61, 62)})))
    with pytest.raises(ZobenchError, match="and two seeds of each"):
        factors.balanced(section(board({"mezo": (60,), "lozo": (70,)})))


def test_directions_are_a_factor_of_their_own():
    """As by brute force, with four factors; what has no partner in the grid is left out."""
    rng = random.Random(2)
    names = [f"{m}:{d}" for m in ("mezo", "fzoo") for d in ("gaussian", "lozo", "tezo")]
    made = [
        *board({n: tuple(rng.randint(50, 90) for _ in range(3)) for n in [*names, "mezo"]}),
        *board({n: tuple(rng.randint(50, 90) for _ in range(3)) for n in names}, selector="layer"),
    ]
    scores, levels = factors.balanced(section(made))
    assert {name: len(own) for name, own in levels.items()} == {
        "estimator": 2,
        "directions": 3,
        "selector": 2,
        "task": 2,
    }
    found = factors.analyse(scores, levels)
    y = np.asarray([100 * x for of in scores.values() for x in of])
    assert sum(one.squares for one in found) == pytest.approx(float(((y - y.mean()) ** 2).sum()))
    assert sum(one.df for one in found) == len(y) - 1 and len(found) == 16
    by_family = {
        d: np.mean([100 * x for key, of in scores.items() if key[1] == d for x in of]) for d in levels["directions"]
    }
    direct = {one.name: one for one in found}["directions"]
    assert direct.squares == pytest.approx(len(y) / 3 * sum((m - y.mean()) ** 2 for m in by_family.values()))
    said = factors.markdown(section(made))
    assert "2 estimators (fzoo, mezo); 3 directions (gaussian, lozo, tezo); 2 selectors (all, layer)" in said
    assert f"{by_family['lozo']:.1f} |" in said


@pytest.mark.parametrize(("f", "df", "below"), [(4.0, 2, 30), (1.2, 3, 12), (20.0, 1, 8), (0.1, 4, 40)])
def test_the_interval_of_a_share_is_that_of_the_noncentral_distribution(f, df, below):
    from scipy.stats import ncf

    low, high = factors.partial_share(f, df, below)
    for share, tail in ((low, 0.025), (high, 0.975)):
        x = share * (df + below + 1) / (1 - share)
        assert ncf.sf(f, df, below, x) == pytest.approx(tail, abs=1e-6) if x > 1e-9 else f_above(f, df, below) >= tail
    assert 0 <= low <= high < 1


def f_above(f, df, below):
    from scipy.stats import f as central

    return central.sf(f, df, below)


# ---- commands


@pytest.fixture
def results(tmp_path):
    for one in [*board(RIGHT), *board(RIGHT, selector="layer")]:
        store.write(tmp_path / "r", one)
    return tmp_path / "r"


def test_the_commands_print_write_and_draw(results, tmp_path, capsys):
    out, plot = tmp_path / "out.md", tmp_path / "out.png"
    assert main(["analyze", "ranks", str(results), "--out", str(out), "--plot", str(plot), "--cost", "forwards"]) == 0
    printed = capsys.readouterr().out
    assert printed == out.read_text() and "forwards of training" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["analyze", "factors", str(results), "--out", str(out)]) == 0
    assert capsys.readouterr().out == out.read_text() and "| estimator x selector x task |" in out.read_text()


def test_the_picture_of_ten_tasks_has_its_critical_difference(tmp_path):
    for one in board(RIGHT, tasks=[f"t{i}" for i in range(10)]):
        store.write(tmp_path, one)
    assert main(["analyze", "ranks", str(tmp_path), "--plot", str(tmp_path / "cd.svg")]) == 0
    drawn = (tmp_path / "cd.svg").read_text()
    assert drawn.count('id="axes_') == 2


def test_forwards_are_those_on_further_batches_too():
    records = board(RIGHT)
    for one in records:
        one["forwards"] = {"train": 100, "eval": 7} | ({"extra": 50} if one["cell"]["estimator"] == "mezo" else {})
    found = ranking.profiles(section(records), "forwards", (1.0, 1.49, 1.5))
    assert found == {"fzoo / all": [1.0] * 3, "lozo / all": [1.0] * 3, "mezo / all": [0.0, 0.0, 1.0]}
