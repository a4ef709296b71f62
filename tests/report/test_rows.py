"""What may stand in one table, what is one row, and what rows are called."""

from __future__ import annotations

import random
from typing import Any

import pytest
from kits.records import record, small_board

from zobench.errors import ZobenchError
from zobench.report.entry import Entry
from zobench.report.rows import average
from zobench.report.sections import sections


def only(records: Any, **options: Any):
    (section,) = sections(records, **options)
    return section


def test_sections_are_by_model_revision_and_data():
    made = [
        record(model="b"),
        record(model="a", data="folder"),
        record(model="a", data="hub"),
        record(model="a", data="hub", model_revision="zzz"),
    ]
    assert [(s.model, s.data, s.revision) for s in sections(made)] == [
        ("a", "folder", "abc123"),
        ("a", "hub", "abc123"),
        ("a", "hub", "zzz"),
        ("b", "hub", "abc123"),
    ]
    assert [dict(s.distinct) for s in sections(made)] == [{}, {"revision": "abc123"}, {"revision": "zzz"}, {}]


def test_seeds_that_only_a_reference_has_are_missing_of_no_method():
    methods, more = [record(seed=seed) for seed in (0, 1)], [record("adamw", seed=seed) for seed in (0, 1, 2)]
    (section,) = sections([*methods, *more, record("zero_shot", seed=0)])
    missing = {row.estimator: row.entry("sst2").missing for row in section.rows}
    assert not missing["mezo"] and not missing["adamw"]
    (alone,) = sections([*more, record("sgd", seed=0)])
    missing = {row.estimator: [draw.seed for draw in row.entry("sst2").missing] for row in alone.rows}
    assert missing == {"adamw": [], "sgd": [1, 2]}, "where there is no method, references are held to each other"


def test_protocols_do_not_mix():
    made = [record(seed=0), record(seed=1), record(seed=2, protocol={"steps": 200, "loss": {"dtype": "float32"}})]
    with pytest.raises(ZobenchError) as caught:
        sections(made)
    said = str(caught.value)
    assert "steps is 100 in 2 records (sst2-mezo-all-s0-" in said
    assert "200 in 1 record (sst2-mezo-all-s2-" in said
    assert "loss.dtype is" in said and "--split-protocols" in said and "\n" not in said


def test_protocols_are_split_if_asked():
    made = [record(seed=0), record(seed=0, protocol={"steps": 20})]
    parts = sections(made, split_protocols=True)
    assert sorted(s.protocol["steps"] for s in parts) == [20, 100]
    assert all(s.distinct == {"steps": s.protocol["steps"]} for s in parts)
    assert sections(made[::-1], split_protocols=True) == parts


def test_protocols_of_different_models_share_no_table():
    assert len(sections([record(model="a"), record(model="b", protocol={"steps": 5})])) == 2


@pytest.mark.parametrize(
    ("key", "value", "what"), [("task_version", 2, "versions"), ("data_revision", "r2", "revisions")]
)
@pytest.mark.parametrize("split", [False, True])
def test_versions_of_a_task_do_not_mix(key: str, value: object, what: str, split: bool):
    with pytest.raises(ZobenchError, match=f"task sst2 are of different {what}.*move or delete"):
        sections([record("mezo"), record("lozo", **{key: value})], split_protocols=split)
    assert len(only([record(task="sst2"), record(task="copa", **{key: value})]).tasks) == 2


def test_a_cell_may_stand_once_only():
    one, twin = record(), record()
    twin["id"] += "x"
    with pytest.raises(ZobenchError, match="are of the same cell: delete one of them"):
        sections([one, twin])


def names(records: Any) -> list[tuple[str, str]]:
    return sorted((row.method, row.where) for row in only(records).rows)


def test_seeds_and_tasks_are_one_row():
    assert names([record(seed=s, task=t) for s in (0, 1) for t in ("a", "b")]) == [("mezo", "all")]


def test_rows_are_told_apart_by_what_differs():
    assert names([record(), record(settings={"eps": 0.01})]) == [
        ("mezo (eps=0.001)", "all"),
        ("mezo (eps=0.01)", "all"),
    ]
    assert names([record(), record("lozo", settings={"eps": 0.01})]) == [("lozo", "all"), ("mezo", "all")]
    assert names([record(), record(run={"engine": "pair"})]) == [
        ("mezo (engine=auto)", "all"),
        ("mezo (engine=pair)", "all"),
    ]
    assert names([record(lrs=(1e-3,)), record(lrs=(1e-3, 1e-2))]) == [
        ("mezo (lrs=[0.001, 0.01])", "all"),
        ("mezo (lrs=[0.001])", "all"),
    ]
    by_task = [
        record(task=task, seed=seed, lrs=lrs) for task, lrs in (("a", (1e-3,)), ("b", (1e-4,))) for seed in (0, 1)
    ]
    assert names(by_task) == [("mezo", "all")]
    assert names([*by_task, record(task="a", seed=2, lrs=(1e-3, 1e-2))]) == [("mezo", "all")]
    layers = [record("mezo", "layer", selector_settings={"index": [i]}) for i in (1, 2)]
    assert names(layers) == [("mezo", "layer (index=[1])"), ("mezo", "layer (index=[2])")]
    # the same selector with other settings under another estimator is told apart too
    across = [layers[0], record("lozo", "layer", selector_settings={"index": [2]})]
    assert names(across) == [("lozo", "layer (index=[2])"), ("mezo", "layer (index=[1])")]


def test_references_come_first_then_by_average():
    order = [(row.method, row.where) for row in only(small_board()).rows]
    assert order[:4] == [("zero_shot", "-"), ("adamw", "all"), ("mezo", "layer"), ("mezo", "all")]
    assert order[4:] == sorted(order[4:]), "without an average, by name"


def test_an_average_is_over_the_same_tasks_for_all():
    made = [record("mezo", task=t, test=x) for t, x in (("a", 80), ("b", 60))]
    made += [
        record("lozo", task="a", test=90),
        record("fzoo", task="a"),
        record("fzoo", task="b", status="oom", error="x"),
    ]
    made += [record("hizoo", task=t, status="error", error="x") for t in "abc"]
    section = only(made)
    assert section.scored == ("a", "b"), "no method finished c"
    found = {row.method: average(row, section.scored) for row in section.rows}
    assert found == {"mezo": pytest.approx(0.7), "lozo": None, "fzoo": None, "hizoo": None}


def test_a_failed_seed_leaves_no_average():
    made = [record(seed=0), record(seed=1, status="diverged", error="x")]
    section = only(made)
    assert average(section.rows[0], section.scored) is None
    assert section.rows[0].entry("sst2").mean() == 0.8


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_records_is_nothing(seed: int):
    made = small_board()
    expected = sections(made)
    random.Random(seed).shuffle(made)
    assert sections(made) == expected


def test_what_has_no_record_does_not_train():
    assert not Entry({}).trains and Entry({(0, 0): record()}).trains and not Entry({(0, 0): record("zero_shot")}).trains
