"""Batch order against the official loop's, recorded."""

import json
from pathlib import Path

import pytest

from zobench.run.batch_order import _sampler_seed, batches

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "order_and_seeds.json").read_text())


@pytest.mark.parametrize("key", GOLDEN)
def test_batches_are_the_official_ones(key):
    n, size, seed = (int(part.lstrip("nbsed")) for part in key.split("_"))
    want, order = GOLDEN[key], batches(n, size, seed)
    epoch = want["epoch_len"]
    got = [next(order) for _ in range(2 * epoch + 1)]
    assert got[:4] == want["batches_first4"]
    assert got[epoch - 1] == want["last_batch_of_first_epoch"]
    assert got[epoch] == want["second_epoch_first_batch"]
    assert got[2 * epoch] == want["third_epoch_first_batch"]


def test_sampler_seed_of_the_official_default():
    assert _sampler_seed(42) == 6909045637428952499


def test_order_leaves_the_global_generator_alone():
    import torch

    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    order = batches(20, 4, 1)
    next(order)
    assert torch.equal(torch.rand(3), want)
