"""A row says the same padded and alone, whichever way its model counts places."""

import pytest
import torch
from tiny_models import CONFIGS, batches, tiny

from zobench.models.positions import counts_from_the_row, position_ids
from zobench.tasks.batch import Batch
from zobench.tasks.generate import greedy
from zobench.tasks.loss import Reading


def test_places_count_from_the_first_real_token():
    assert position_ids(torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_who_must_be_told():
    assert {family for family in CONFIGS if counts_from_the_row(tiny(family).model)} == {"gpt2"}


@pytest.mark.parametrize("family", CONFIGS)
def test_padding_moves_no_row(family):
    """Logits of the last tokens, and what is generated after them (with and without a cache)."""
    loaded, made = tiny(family), batches(count=1)[0]
    ids, mask = made.input_ids, made.attention_mask
    told = counts_from_the_row(loaded.model)
    batch = Batch(ids, mask, torch.ones(4, dtype=torch.long), torch.zeros(4, dtype=torch.long), (1,) * 4, 1, 0)
    with torch.no_grad():
        together = Reading(positions=told).logits(loaded.model, batch, 3)
        for row in range(4):
            alone = loaded.model(ids[row, mask[row].bool()][None]).logits[0, -3:]
            assert torch.allclose(together[row], alone, atol=1e-4)
    for cache in (True, False):
        reading = Reading(cache=cache, positions=told)
        said, _ = greedy(loaded.model, ids, mask, limit=4, stop=frozenset(), reading=reading)
        for row in range(4):
            bare = ids[row, mask[row].bool()][None]
            assert greedy(loaded.model, bare, None, limit=4, stop=frozenset(), reading=reading)[0] == [said[row]]
