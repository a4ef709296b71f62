"""Who is bold: only who is better than every rival beyond chance, over seeds and items, corrected over the board."""

from __future__ import annotations

import random
from typing import Any

import pytest
from kits.records import items, record

from zobench.report import compare, stats
from zobench.report.sections import sections

SEEDS = (0, 1, 2)


def judged(records: Any, family: Any = "board") -> compare.Verdicts:
    (section,) = sections(records)
    return compare.judge(section, family)


def standing(records: Any, column: str = "sst2", family: Any = "board") -> compare.ColumnStanding:
    found = judged(records, family).best[column]
    assert found is not None
    return found


def runs(estimator: str, *right: int, task: str = "sst2", **more: Any) -> list[Any]:
    """A record a seed; the right items are the first, so that items differ by method and hardly by seed."""
    return [record(estimator, task=task, seed=s, test=items(n), **more) for s, n in enumerate(right)]


def names(rows: Any) -> list[str]:
    return [row.method for row in rows]


def test_a_clear_difference_is_bold():
    found = standing([*runs("mezo", 60, 61, 60), *runs("lozo", 90, 91, 90)])
    assert found.bold and found.best.method == "lozo" and names(found.beaten) == ["mezo"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_bold_with_fewer_than_three_seeds(seeds: int):
    found = standing([*runs("mezo", *[10] * seeds), *runs("lozo", *[99] * seeds)])
    assert not found.bold and found.few and names(found.untested) == ["mezo"] and found.worst_p is None


def test_the_edge_of_certainty():
    """The p of the difference, corrected for three comparisons: two gains (here of nobody) and the column's."""
    made = [*runs("mezo", 60, 60, 60, zero_shot=items(60)), *runs("lozo", 68, 68, 68, zero_shot=items(68))]
    alone = standing(made, family="column").worst_p
    (section,) = sections(made)
    mezo, lozo = (next(r for r in section.rows if r.method == name) for name in ("mezo", "lozo"))
    one = lozo.entry("sst2").minus(mezo.entry("sst2"))
    assert one is not None and alone == pytest.approx(one.p) and one.mean == pytest.approx(0.08)
    # Of the board there are: best of sst2, best of the average, and two gains.
    assert standing(made).worst_p == pytest.approx(min(1.0, 4 * one.p))


def test_holm_goes_over_the_whole_board():
    made = [*runs("lozo", 70, 70, 70), *runs("mezo", 60, 60, 60)]
    assert standing(made).bold
    crowd = [one for k in range(40) for one in runs(f"other{k}", 59, 60, 61, zero_shot=60)]
    assert not standing([*made, *crowd]).bold
    assert judged([*made, *crowd]).tests == 2 * 41 + 42 + 40, "the best against full MeZO is asked once"
    assert judged([*made, *crowd], "claim").tests == 2 * 41
    assert judged([*made, *crowd], "column").tests == 42


def test_who_is_not_beaten_is_not_told_apart():
    found = standing([*runs("lozo", 90, 91, 90), *runs("fzoo", 88, 90, 89), *runs("mezo", 50, 51, 50)])
    assert not found.bold and names(found.close) == ["fzoo"] and names(found.beaten) == ["mezo"]


def test_equal_methods_are_not_told_apart():
    found = standing([*runs("lozo", 80, 80, 80), *runs("mezo", 80, 80, 80)])
    assert not found.bold and len(found.close) == 1


def test_references_are_no_rivals():
    made = [*runs("adamw", 99, 99, 99), *runs("mezo", 60, 60, 60), record("zero_shot", test=items(98))]
    found = standing(made)
    assert found.best.method == "mezo" and not found.bold, "it is the only method"


def test_a_lucky_seed_is_not_bold():
    made = runs("mezo", 60, 60, 60)
    assert standing([*made, *runs("lozo", 70, 71, 72)]).bold
    found = standing([*made, *runs("lozo", 93, 60, 60)])
    assert not found.bold and names(found.close) == ["mezo"]


def test_what_cannot_be_paired_keeps_anybody_from_bold():
    best, rival = runs("lozo", 90, 90, 90), runs("mezo", 10, 10, 10)
    for one in rival:
        del one["metrics"]["test"]["items"]
    found = standing([*best, *rival])
    assert not found.bold and names(found.untested) == ["mezo"]


def test_a_rival_that_was_never_compared_keeps_the_best_from_bold():
    """The others are beaten; of this one there are no items, and it may be as good."""
    beaten, never = runs("mezo", 50, 51, 50), runs("fzoo", 85, 85, 85)
    assert standing([*runs("lozo", 90, 90, 90), *beaten]).bold
    for one in never:
        del one["metrics"]["test"]["items"]
    found = standing([*runs("lozo", 90, 90, 90), *beaten, *never])
    assert names(found.beaten) == ["mezo"] and names(found.untested) == ["fzoo"] and not found.close
    assert not found.bold


@pytest.mark.parametrize("kept", [(0,), (0, 1), (1, 2)])
def test_a_missing_seed_is_a_failure(kept: tuple[int, ...]):
    """Of lozo some seeds were never run: what is left is not compared, is no average, and cannot be best."""
    made = [*runs("mezo", 50, 50, 50), *[one for one in runs("lozo", 99, 99, 99) if one["cell"]["seed"] in kept]]
    found = standing(made)
    assert found.best.method == "mezo" and not found.bold and names(found.untested) == ["lozo"]
    (section,) = sections(made)
    lozo = next(row for row in section.rows if row.method == "lozo")
    assert [draw.seed for draw in lozo.entry("sst2").missing] == sorted(set(SEEDS) - set(kept))
    assert lozo.effect(("sst2",)) is None and lozo.gain(("sst2",)) is None
    at = section.rows.index(lozo)
    assert ("sst2", at) not in judged(made).gains


def test_two_methods_that_lack_the_same_seed_are_not_compared_on_the_others():
    made = [*runs("zo_adam", 50, 50, 50), *runs("mezo", 40, 40), *runs("lozo", 99, 99)]
    (section,) = sections(made)
    lozo, mezo = (next(r for r in section.rows if r.method == name).entry("sst2") for name in ("lozo", "mezo"))
    assert lozo.minus(mezo) is None


def test_a_failed_seed_is_a_failure():
    half = [record("lozo", seed=s, test=items(99)) for s in (0, 1)]
    made = [*runs("mezo", 50, 50, 50), *half, record("lozo", seed=2, status="diverged", error="x")]
    found = standing(made)
    assert found.best.method == "mezo" and not found.bold and names(found.untested) == ["lozo"]


def test_seeds_that_only_a_reference_has_are_missed_by_nobody():
    made = [*runs("mezo", 60, 60, 60), *runs("lozo", 90, 90, 90), *runs("adamw", 99, 99, 99, 99, 99)]
    assert standing(made).bold


def test_what_trains_nothing_lacks_no_seed():
    made = [*runs("mezo", 60, 60, 60), record("zero_shot", test=items(50), zero_shot=items(50))]
    (section,) = sections(made)
    untouched = next(row for row in section.rows if row.untouched)
    assert untouched.entry("sst2").complete
    mezo = next(row for row in section.rows if row.method == "mezo")
    one = mezo.entry("sst2").minus(untouched.entry("sst2"))
    assert one is not None and one.seeds == 3 and one.mean == pytest.approx(0.1)


def test_no_score_no_verdict():
    made = [record(status="oom", error="x")]
    assert judged(made).best == {"sst2": None, "average": None}


def test_the_average_has_its_own_verdict():
    made = [one for t in "abc" for name, n in (("mezo", 60), ("lozo", 64)) for one in runs(name, n, n, n, task=t)]
    assert not any(standing(made, t, "column").bold for t in "abc")
    assert standing(made, "average", "column").bold, "twelve items out of twelve, where four of four are not enough"


def test_gains_are_judged_over_seeds():
    rng = random.Random(0)
    before = items(50)
    steady = [record("mezo", seed=s, test=items(70 + s), zero_shot=before) for s in SEEDS]
    lucky = [record("lozo", seed=s, test=items(95 if s == 1 else 50), zero_shot=before) for s in SEEDS]
    rng.shuffle(made := [*steady, *lucky])
    (section,) = sections(made)
    told = judged(made).gains
    by_name = {row.method: told["sst2", at] for at, row in enumerate(section.rows)}
    assert by_name == {"mezo": stats.BETTER, "lozo": stats.SAME}


def test_clusters_of_the_record_count():
    """Hundred items of ten passages: the same scores are sure apart and unsure by passage."""
    rng = random.Random(1)
    good = [v for _ in range(10) for v in [float(rng.random() < 0.6)] * 10]
    made = [*runs("mezo", 40, 40, 40), *[record("lozo", seed=s, test=good) for s in SEEDS]]
    (section,) = sections(made)
    lozo, mezo = (next(r for r in section.rows if r.method == name).entry("sst2") for name in ("lozo", "mezo"))
    apart = lozo.effect
    for one in made:
        one["metrics"]["test"]["clusters"] = [i // 10 for i in range(100)]
    (section,) = sections(made)
    lozo, mezo = (next(r for r in section.rows if r.method == name).entry("sst2") for name in ("lozo", "mezo"))
    assert apart is not None and lozo.effect is not None and lozo.effect.half() > 2 * apart.half()
    assert lozo.minus(mezo) is not None
    made[0]["metrics"]["test"]["clusters"] = [i // 5 for i in range(100)]
    (section,) = sections(made)
    lozo, mezo = (next(r for r in section.rows if r.method == name).entry("sst2") for name in ("lozo", "mezo"))
    assert lozo.minus(mezo) is None, "not the same items"


def test_who_has_nothing_right_is_not_best():
    made = [record(name, test=right, seed=s) for name, right in (("a", 0), ("b", 50), ("c", 20)) for s in range(3)]
    (section,) = sections(made)
    for column in ("sst2", compare.AVERAGE):
        best, others = compare._column(section, column)
        assert best.estimator == "b" and sorted(row.estimator for row in others) == ["a", "c"]


def test_a_reference_has_gains_and_the_untouched_model_none():
    made = [*runs("mezo", 85, 86, 87), *runs("adamw", 90, 91, 92), *runs("zero_shot", 50, 50, 50)]
    (section,) = sections(made)
    gains = compare.judge(section).gains
    assert {section.rows[at].estimator: told for (_, at), told in gains.items()} == dict.fromkeys(
        ("adamw", "mezo"), "better"
    )
