"""What a record says of the items sampled: repeats, splits that share items, empty texts and candidates."""

import json

import pytest
from kits.task_kit import task

from zobench.plugins import declared
from zobench.plugins.registry import load_plugins
from zobench.tasks.doubts import doubts
from zobench.tasks.sampling import Splits, split
from zobench.tasks.source import load_pools

COPA = {"premise": "I ran.", "choice1": "a", "choice2": "b", "question": "effect", "label": 1}


def rows(n, start=0):
    return [{"sentence": f"film {i}", "label": i % 2, "idx": i} for i in range(start, start + n)]


def of(train, dev, test, name="sst2"):
    return doubts(task(name), Splits(train, dev, test, {}))


def test_nothing_is_odd():
    assert of(rows(8), rows(4, 8), rows(4, 12)) == {}
    assert of([], [], []) == {}


def test_repeats_and_shared_items_whatever_their_numbers():
    train = [*rows(8), {**rows(1)[0], "idx": 99}]
    assert of(train, rows(4, 8), rows(4, 12)) == {"train_repeats": "1 of 9 items stand in train before"}
    assert of(rows(8), rows(4, 6), rows(4, 12)) == {"dev_in_train": "2 of 4 items of dev are in train too"}
    assert of(rows(8), rows(4, 8), rows(4, 11)) == {"test_in_dev": "1 of 4 items of test are in dev too"}
    assert of(rows(8), rows(4, 8), rows(8)) == {"test_in_train": "all 8 items of test are in train too"}
    assert of(rows(9), rows(4, 9), rows(8)) == {"test_in_train": "all 8 items of test are in train too"}
    assert of(rows(4), rows(4, 9), rows(8)) == {"test_in_train": "4 of 8 items of test are in train too"}
    twice = [*rows(2, 8), *rows(2, 8)]
    assert of(rows(8), twice, rows(3, 20)) == {"dev_repeats": "2 of 4 items stand in dev before"}


def test_another_label_is_another_item():
    assert of(rows(8), [{**rows(1)[0], "label": 1}], rows(4, 12)) == {}


def test_empty_texts():
    assert of([{"sentence": " \n", "label": 0}], rows(1), rows(1, 1)) == {
        "empty_texts": "1 items have an empty sentence"
    }


def test_candidates_that_are_empty_or_equal():
    items = [COPA, {**COPA, "choice1": " ", "premise": "x"}, {**COPA, "choice2": "a", "premise": "y"}]
    assert of(items, [{**COPA, "premise": "z"}], [{**COPA, "premise": "w"}], "copa") == {
        "empty_texts": "1 items have an empty choice1",
        "empty_candidates": "1 items have an empty candidate",
        "equal_candidates": "1 items have candidates that are equal; the first counts",
    }
    record = {"passage": "p", "query": "@placeholder", "entities": ["X", "", "X"], "answers": ["X"]}
    said = of([record], [{**record, "passage": "q"}], [{**record, "passage": "r"}], "record")
    assert set(said) == {"empty_candidates", "equal_candidates"} and said["equal_candidates"].startswith("3 items")


def test_one_file_under_two_names(tmp_path):
    (tmp_path / "sst2").mkdir()
    for name in ("train", "validation"):
        (tmp_path / "sst2" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    pools = load_pools(task("sst2"), tmp_path)
    said = doubts(task("sst2"), split(pools, num_train=10, num_dev=10, num_test=2, seed=0), pools)
    assert said["pools"] == "train and validation are the same file: what is tested on was trained on"


@pytest.mark.parametrize("name", ["sst2", "copa", "record", "wsc", "cb"])
def test_the_data_of_the_package_are_sound(name):
    pools = load_pools(task(name), declared.data_source(load_plugins(only=""), "embedded"))
    assert doubts(task(name), split(pools, num_train=1000, num_dev=100, num_test=1000, seed=0), pools) == {}
