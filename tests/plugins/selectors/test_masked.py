"""Entries inside a scope: its own masks hold too."""

from __future__ import annotations

import torch
from zobench_plugins.selectors.masked import Inside

from zobench import Scope
from zobench.directions.handle import Handle


def test_an_entry_moves_where_both_masks_let_it_and_the_mask_is_the_same_tensor_while_they_are():
    weights = {name: torch.zeros(4) for name in ("a", "b", "c")}
    theirs = {"a": torch.tensor([True, True, False, False]), "c": torch.tensor([True, False, True, False])}
    own = {"a": torch.tensor([True, False, True, False]), "b": torch.tensor([False, True, True, True])}
    inside = Inside(Scope(list(weights.items()), masks=theirs), own)
    assert [name for name, _ in inside.named] == ["a", "b"]
    a, b = (Handle(name, weights[name], {}) for name in ("a", "b"))
    assert inside.mask(a, 0).tolist() == [True, False, False, False]
    assert inside.mask(a, 1) is inside.mask(a, 0)
    assert torch.equal(inside.mask(b, 0), own["b"]), "the scope has none of it"
