"""Selectors as expressions: their classes, settings, names and faults. Nothing here loads a model."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import pytest

from zobench import Count, Natural, Positive, Scope, Selector, ZobenchError
from zobench.plugins.expressions import Composite, Sum, addresses, build, canonical, names
from zobench.settings import settings_of


class Layer(Selector):
    argument: ClassVar[str] = "index"
    index: tuple[Natural, ...] = ()

    def select(self, context):
        context.note(index=list(self.index))
        return context.layers(*self.index)


class Outlier(Selector):
    """Looks."""

    ratio: Positive | None = None
    batches: Count = 4

    def select(self, context):
        context.note(chosen=1)
        context.note(ratio=self.ratio)
        return context.layers(1)

    def expected_forwards(self, blocks, step, dev):
        return self.batches


class Bare(Selector):
    def select(self, context):
        return context.layers(0)


class Not(Composite):
    """All but one."""

    def select(self, context):
        return ("not", *self.chosen(context))


KNOWN = {"layer": Layer, "outlier": Outlier, "bare": Bare, "not": Not}


def find(name):
    return KNOWN[name]


def made(text):
    return build(canonical(text, KNOWN), find)


class Context:
    """Scopes are real, over three tensors; a tensor a block."""

    def __init__(self):
        import torch

        self.named = [(f"block.{i}", torch.zeros(2)) for i in range(4)]
        self.facts = {}

    def everything(self):
        return Scope(self.named)

    def layers(self, *indices):
        return Scope([self.named[i] for i in sorted(indices)], layers=indices)

    def note(self, **facts):
        self.facts.update(facts)


def test_a_sum_chooses_what_any_part_chooses_in_the_models_order():
    context = Context()
    scope = made("outlier+layer:3+layer:0")().select(context)
    assert [n for n, _ in scope.named] == ["block.0", "block.1", "block.3"] and scope.layers == (0, 1, 3)
    assert context.facts == {
        "layer:0": {"index": [0]},
        "layer:3": {"index": [3]},
        "outlier": {"chosen": 1, "ratio": None},
    }


def test_the_settings_of_a_sum_are_those_of_its_parts():
    cls = made("outlier+layer:3")
    assert {n: s.default for n, s in settings_of(cls).items()} == {
        "layer:3.index": (3,),
        "outlier.ratio": None,
        "outlier.batches": 4,
    }
    selector = cls(**{"outlier.ratio": "7", "layer:3.index": [3]})  # as a record gives them
    assert [p.settings for p in selector.parts] == [{"index": (3,)}, {"ratio": 7.0, "batches": 4}]
    assert selector.settings["outlier.ratio"] == 7.0 and cls().expected_forwards(9, 2, 1) == 4
    with pytest.raises(ZobenchError, match=r"outlier.ratio=-1: must be above 0"):
        cls(**{"outlier.ratio": "-1"})
    with pytest.raises(ZobenchError, match="did you mean 'outlier.ratio'"):
        cls(**{"outlier.rato": 1})


def test_parts_do_not_share_what_they_are_told():
    """Labels of which one begins another, and the same class twice."""
    cls = made("layer:1+layer:10+layer")
    selector = cls(**{"layer.index": "2"})
    assert [p.index for p in selector.parts] == [(2,), (1,), (10,)]
    assert Layer.index == () and made("layer:2")().index == (2,)


def test_equal_sums_have_one_name():
    assert canonical(" outlier +layer: 3", KNOWN) == canonical("layer:3+outlier", KNOWN) == "layer:3+outlier"
    assert names("outlier+not:layer:3") == ("outlier", "not")


def test_a_selector_of_a_selector():
    context = Context()
    cls = made("not:layer:2")
    word, scope = cls().select(context)
    assert word == "not" and scope.layers == (2,) and context.facts == {"layer:2": {"index": [2]}}
    assert list(settings_of(made("not:not:outlier"))) == ["not:outlier.outlier.ratio", "not:outlier.outlier.batches"]
    deep = made("not:not:outlier")(**{"not:outlier.outlier.batches": 9})
    assert deep.parts[0].parts[0].batches == 9 and deep.expected_forwards(9, 2, 1) == 9
    assert issubclass(made("not:layer:2+bare"), Sum)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("outlier+", "selector 'outlier+': a term is missing; write for example first_outlier+layer:30"),
        ("+", "a term is missing"),
        ("layer:", "the value after layer: is missing"),
        (":3", "a term is missing"),
        ("outlyer+layer:1", "unknown selector 'outlyer'; did you mean 'outlier'"),
        ("30", "decoder blocks are written layer:1+layer:30, or --selector layer --set layer.index=1,30"),
        ("layer:1+layer:1", "layer:1 stands in the sum twice"),
        ("layer:x", "selector layer:x: index=x: not a whole number"),
        ("layer:-1", "index=-1: must be at least 0"),
        ("outlier:3", "outlier takes no value after a colon; set its settings with --set outlier.ratio=..."),
        ("bare:3", "bare takes no value after a colon; it has no settings"),
        ("not", "selector not is made of another one; write not:first_outlier"),
        ("not:", "the value after not: is missing"),
    ],
)
def test_faults_are_one_line_that_says_what_to_write(text, message):
    with pytest.raises(ZobenchError) as e:
        made(text)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_addresses_are_what_set_may_name():
    found = {a.key: a for a in addresses(made("not:outlier+layer:3"), "layer:3+not:outlier")}
    ratio, index = found["not:outlier.outlier.ratio"], found["layer:3.index"]
    assert ratio.prefixes == {"layer:3+not:outlier", "not:outlier", "not", "outlier"} and ratio.name == "ratio"
    assert index.fixed and not ratio.fixed and index.prefixes == {"layer:3+not:outlier", "layer:3", "layer"}
    assert [a.key for a in addresses(Outlier, "outlier")] == ["ratio", "batches"]


def test_expressions_import_no_torch():
    code = (
        "import sys; from zobench.plugins.expressions import canonical; canonical('a+b:1', ['a', 'b']);"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_part_sees_the_context_but_for_its_notes():
    context = Context()
    context.seed = 7
    seen = []

    class Looks(Selector):
        def select(self, inner):
            seen.append((inner.seed, inner.everything().named is not None))
            return inner.layers(0)

    build("looks+bare", {"looks": Looks, "bare": Bare}.__getitem__)().select(context)
    assert seen == [(7, True)] and context.facts == {}
