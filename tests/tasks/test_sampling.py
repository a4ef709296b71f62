"""Which items are sampled, against index lists that MeZO's own code drew."""

import re

import numpy as np
import pytest
from kits.task_kit import golden

from zobench.errors import ZobenchError
from zobench.tasks.sampling import demonstration_seeds, sample, split
from zobench.tasks.source import Pools

LISTS = golden("sampling")["sample_subset"]


@pytest.mark.parametrize("key", LISTS)
def test_indices(key):
    n, k, seed = map(int, re.fullmatch(r"n(\d+)_num(\d+)_seed(\d+)", key).groups())
    drawn, expected = sample(n, k, seed), LISTS[key]
    assert (len(drawn), drawn[:20], drawn[-5:], sum(drawn)) == tuple(
        expected[part] for part in ("len", "first20", "last5", "sum")
    )
    assert sum((j + 1) * x for j, x in enumerate(drawn)) % (2**31 - 1) == expected["alt_checksum"]


def test_demonstration_seeds():
    assert demonstration_seeds(20) == golden("sampling")["icl_one_set_per_eval_seeds_first20_of_20"]


def test_the_global_generator_does_not_move():
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    sample(1000, 10, 0)
    demonstration_seeds(5)
    split(pools(600), num_train=10, num_dev=5, num_test=5, seed=3)
    assert (np.random.get_state()[1] == before).all()


def pools(train, validation=50):
    return Pools([{"i": i} for i in range(train)], [{"i": i} for i in range(validation)], "folder")


@pytest.mark.parametrize(
    ("n", "num_train", "num_dev", "train", "dev"),
    [(32, 1, 500, 16, 16), (32, 0, 500, 0, 32), (32, 1, 31, 1, 31), (32, 1, 32, 16, 16), (32, 0, 32, 0, 32)],
)
def test_one_to_train_on_is_some_and_none_asked_for_leaves_dev_as_it_is(n, num_train, num_dev, train, dev):
    made = split(pools(n), num_train=num_train, num_dev=num_dev, num_test=4, seed=0)
    assert (len(made.train), len(made.dev)) == (train, dev)
    assert ("MeZO's rule would leave none to train on" in made.notes.get("dev", "")) == (train == dev == 16)


@pytest.mark.parametrize(
    ("n", "num_dev", "train", "dev"),
    [
        (2490, 500, 1000, 500),  # RTE
        (554, 500, 54, 500),  # WSC as MeZO's script has it
        (554, 100, 454, 100),  # WSC as the papers after it
        (250, 100, 150, 100),  # CB
        (32, 500, 16, 16),  # nothing would be left to train on
        (501, 500, 1, 500),
        (500, 500, 250, 250),
    ],
)
def test_sizes(n, num_dev, train, dev):
    made = split(pools(n), num_train=1000, num_dev=num_dev, num_test=40, seed=0)
    assert (len(made.train), len(made.dev), len(made.test)) == (train, dev, 40)
    order = sample(n, 1000 + num_dev, 0)
    assert [item["i"] for item in made.train + made.dev] == order
    assert made.indices == {"train": order[:train], "dev": order[train:], "test": sample(50, 40, 0)}
    assert ("dev" in made.notes) == (n <= num_dev) and ("train" in made.notes) == (train < 1000)


def test_notes_say_what_differs():
    made = split(pools(32, 8), num_train=1000, num_dev=500, num_test=10, seed=0)
    assert made.notes == {
        "dev": "16 instead of 500: the training pool has 32 items; MeZO's rule would leave none to train on",
        "train": "16 instead of 1000: the pool is smaller",
        "test": "8 instead of 10: the pool is smaller",
    }


def test_nothing_to_train_or_test_on():
    with pytest.raises(ZobenchError, match=r"the data \(folder\) leave no item for train: they have 0"):
        split(pools(0), num_train=4, num_dev=4, num_test=4, seed=0)
    with pytest.raises(ZobenchError, match="leave no item for test"):
        split(pools(9, 0), num_train=4, num_dev=4, num_test=4, seed=0)
    assert split(pools(9), num_train=0, num_dev=4, num_test=4, seed=0).train == []
