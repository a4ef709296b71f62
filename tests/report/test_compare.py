"""The bold rule, on differences whose certainty is known."""

from __future__ import annotations

from typing import Any

import pytest
from factory import items, record

from zobench.report import compare
from zobench.report.rows import sections


def verdict(records: Any, task: str | None = "sst2") -> compare.Verdict | None:
    (section,) = sections(records)
    return compare.of_average(section) if task is None else compare.of_task(section, task)


def names(rows: Any) -> list[str]:
    return [row.method for row in rows]


def test_a_clear_difference_is_bold():
    found = verdict([record("mezo", test=items(60)), record("lozo", test=items(90))])
    assert found is not None and found.bold
    assert found.best.method == "lozo" and names(found.beaten) == ["mezo"]


def test_the_edge_of_certainty():
    """Nested right answers: all differences favour the better. Five are p = 1/16, six p = 1/32."""
    for more, bold in ((5, False), (6, True)):
        found = verdict([record("mezo", test=items(60)), record("lozo", test=items(60 + more))])
        assert found is not None and found.bold is bold
        assert found.worst_p == pytest.approx(2 / 2**more)


def test_holm_makes_it_harder_with_more_rivals():
    made = [record("lozo", test=items(66)), record("mezo", test=items(60))]
    assert verdict(made).bold  # type: ignore[union-attr]
    found = verdict([*made, record("fzoo", test=items(60, shuffle=None))])
    assert found is not None and not found.bold, "two comparisons at p = 1/32"
    assert names(found.tied) == ["fzoo", "mezo"]


def test_one_unbeaten_rival_is_a_tie():
    found = verdict([record("lozo", test=items(90)), record("fzoo", test=items(88)), record("mezo", test=items(50))])
    assert found is not None and not found.bold
    assert names(found.tied) == ["fzoo"] and names(found.beaten) == ["mezo"]


def test_equal_methods_tie():
    found = verdict([record("lozo"), record("mezo")])
    assert found is not None and not found.bold and len(found.tied) == 1


def test_references_are_no_rivals():
    made = [record("adamw", test=items(99)), record("zero_shot", test=items(98)), record("mezo", test=items(60))]
    found = verdict(made)
    assert found is not None and found.best.method == "mezo"
    assert not found.bold, "it is the only method"


def test_a_lucky_seed_is_not_bold():
    made = [record("mezo", seed=s, test=items(60)) for s in (0, 1, 2)]
    steady = [record("lozo", seed=s, test=items(70 + s)) for s in (0, 1, 2)]
    lucky = [record("lozo", seed=s, test=items(93 if s == 0 else 60)) for s in (0, 1, 2)]
    assert verdict([*made, *steady]).bold  # type: ignore[union-attr]
    found = verdict([*made, *lucky])
    assert found is not None and not found.bold and found.worst_p is not None and found.worst_p < 0.05


def test_what_cannot_be_paired_is_not_bold():
    for rival in (record("mezo", seed=1, test=items(10)), record("mezo", test=items(10))):
        if rival["cell"]["seed"] == 0:
            del rival["metrics"]["test"]["items"]
        found = verdict([record("lozo", test=items(90)), rival])
        assert found is not None and not found.bold and names(found.untested) == ["mezo"]


def test_a_method_with_a_failed_seed_cannot_be_best():
    made = [record("mezo", seed=s, test=items(50)) for s in (0, 1)]
    half = [record("lozo", seed=0, test=items(99)), record("lozo", seed=1, status="diverged", error="x")]
    found = verdict([*made, *half])
    assert found is not None and found.best.method == "mezo" and not found.bold


def test_no_score_no_verdict():
    assert verdict([record(status="oom", error="x")]) is None
    assert verdict([record(status="oom", error="x")], None) is None


def test_the_average_has_its_own_verdict():
    made = [record("mezo", task=t, test=items(60)) for t in ("a", "b", "c")]
    made += [record("lozo", task=t, test=items(64)) for t in ("a", "b", "c")]
    assert not any(verdict(made, t).bold for t in ("a", "b", "c"))  # type: ignore[union-attr]
    found = verdict(made, None)
    assert found is not None and found.bold, "twelve items out of twelve, where four of four are not enough"
