"""The rule of what runs by default: each value once, and all cases are there; what is left out runs each week."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from kits.matrix import covering, first_of_each, meeting, named

ROOT = Path(__file__).parents[1]


def by_default(cases):
    return [tuple(case.values) for case in cases if not case.marks]


def test_each_value_is_met_and_each_case_is_there():
    axes = ["abcdefg", range(3), [True, False]]
    cases = covering(*axes)
    assert [tuple(case.values) for case in cases] == list(itertools.product(*axes))
    few = by_default(cases)
    assert len(few) == 7 and all({case[i] for case in few} == set(axis) for i, axis in enumerate(axes))
    assert len(set(itertools.product(range(3), [True, False])) - {case[1:] for case in few}) == 0, "by turns"
    assert {mark.name for case in cases for mark in case.marks} == {"slow"}


def test_each_pair_is_met():
    axes = ["abcd", range(3), [True, False]]
    few = by_default(covering(*axes, together=2))
    assert len(few) < 24
    for i, j in itertools.combinations(range(3), 2):
        assert {(case[i], case[j]) for case in few} == set(itertools.product(axes[i], axes[j]))


def test_of_listed_cases_each_facet_is_met():
    cases = [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert by_default(meeting(cases, lambda case: case)) == [("a", 1), ("b", 2)]
    assert by_default(meeting(cases, lambda case: case[:1])) == [("a", 1), ("b", 1)]
    assert by_default(first_of_each(cases, lambda case: case[1])) == [("a", 1), ("a", 2)]
    assert by_default(named("abc", "ca")) == [("a",), ("c",)]
    with pytest.raises(AssertionError, match="no such cases: .'d'"):
        named("abc", "ad")


def test_what_is_left_out_runs_each_week():
    plan = yaml.safe_load((ROOT / ".github" / "workflows" / "slow.yml").read_text(encoding="utf-8"))
    assert plan[True]["schedule"] and "pull_request" not in plan[True]  # YAML reads `on` as true
    ran = [step["run"] for job in plan["jobs"].values() for step in job["steps"] if "run" in step]
    assert any("pytest" in one and "-m 'slow and not gpu and not network'" in one for one in ran)
