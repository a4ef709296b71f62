"""What is composed of parts: forwards of a step along other directions, numerics of a sum; sizes of batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from zobench.contracts.planned import Planned
from zobench.contracts.selector import Selector
from zobench.plugins import along, code_digest, expressions
from zobench.plugins.registry import load_plugins


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


def test_a_method_around_another_takes_the_further_forwards_of_both():
    plugins = load_plugins(only="")
    outer, inner = plugins.estimator("dizo").around, plugins.estimator("mezo_svrg")
    both = outer.extra_forwards_per_step + inner.extra_forwards_per_step
    assert plugins.estimator("dizo+mezo_svrg").extra_forwards_per_step == both
    assert min(outer.extra_forwards_per_step, inner.extra_forwards_per_step) > 0


@pytest.mark.parametrize(
    ("told", "editable"),
    [
        (None, False),
        ("{}", False),
        ('{"dir_info": {}}', False),
        ('{"dir_info": {"editable": false}}', False),
        ('{"dir_info": {"editable": true}}', True),
    ],
)
def test_what_is_installed_to_be_edited_says_so(told, editable):
    assert code_digest._editable(SimpleNamespace(read_text=lambda name: told)) is editable
