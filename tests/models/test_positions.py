"""A row says the same padded and alone, whichever way its model counts places."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from kits.tiny_models import CONFIGS, batches, tiny

from zobench.models.forward import Forward
from zobench.models.positions import position_ids
from zobench.tasks.generate import greedy


@cache
def held(family):
    """Of each family one model, which no test here changes."""
    return tiny(family)


def test_places_count_from_the_first_real_token():
    assert position_ids(torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]


def test_who_must_be_told():
    assert {family for family in CONFIGS if held(family).capabilities.padding != "masked"} == {"gpt2"}


@pytest.mark.parametrize("family", CONFIGS)
def test_padding_moves_no_row(family):
    """Logits of the last tokens, and what is generated after them (with and without a cache)."""
    loaded, made = held(family), batches(count=1)[0]
    ids, mask = made.input_ids, made.attention_mask
    forward = Forward.of(loaded)
    assert forward.cache is not None
    with torch.no_grad():
        together = forward.rows(ids, mask, 3)
        for row in range(4):
            alone = loaded.model(ids[row, mask[row].bool()][None]).logits[0, -3:]
            assert torch.allclose(together[row], alone, atol=1e-4)
    for one in (forward, replace(forward, cache=None)):
        said, _ = greedy(one, ids, mask, limit=4, stop=frozenset())
        for row in range(4):
            bare = ids[row, mask[row].bool()][None]
            assert greedy(one, bare, None, limit=4, stop=frozenset())[0] == [said[row]]
