"""What is composed of parts: forwards of a step along other directions, numerics of a sum; sizes of batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from zobench.contracts.planned import Planned
from zobench.contracts.selector import Selector
from zobench.plugins import along, expressions


@pytest.mark.parametrize(
    ("estimator", "family", "forwards"),
    [
        ((2, 1), (0, 0), 2),
        ((2, 1), (1, 2), 5),
        ((4, 3), (1, 2), 11),
        ((2, 0), (1, 2), 3),
        ((2, None), (1, 0), 3),
        ((2, None), (1, 2), None),
        ((None, 1), (1, 2), None),
    ],
)
def test_each_direction_of_a_step_takes_its_forwards(estimator, family, forwards):
    cls = SimpleNamespace(forwards_per_step=estimator[0], directions_per_step=estimator[1])
    of = SimpleNamespace(forwards_per_step=family[0], forwards_per_direction=family[1])
    assert along._forwards(cls, of) == forwards


def test_a_sum_is_raised_by_what_its_parts_are():
    found = {name: type(name, (Selector,), {"numerics": at}) for name, at in (("a", 1), ("b", 2), ("c", 4))}
    assert [expressions.build(text, found.__getitem__).numerics for text in ("a+b", "b+c", "a+b+c")] == [2, 5, 5]


@pytest.mark.parametrize(
    ("train", "sizes"), [(1, {1}), (15, {15}), (16, {16}), (17, {16, 1}), (32, {16}), (40, {16, 8})]
)
def test_batches_are_whole_and_the_last_of_an_epoch_has_what_is_left(train, sizes):
    planned = Planned("", "", "lm", train, batch_size=16, weight_decay=0.0, parameterisation="full", names=None)
    assert planned.batches() == sizes
