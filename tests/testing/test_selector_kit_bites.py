"""A wrong selector fails the check that is there for it, and a right one passes all."""

from __future__ import annotations

import itertools
import time
from typing import ClassVar

import numpy as np
import pytest
import torch

from zobench import Schedule, Scope, Selector, ZobenchError, body_forward
from zobench.testing import check_selector
from zobench.testing import planted as planted_module
from zobench.testing.planted import LAYERS, PLANTS, TrialContext, _rows, planted
from zobench.testing.selectors import CHECKS, SelectorCase, differ, state


class Right(Selector):
    """Looks at two batches, takes block 1."""

    def select(self, context):
        for batch in context.calibration(2, 4):
            context.note(loss=float(context.loss(batch)))
        self.more(context)
        return self.scope(context)

    def more(self, context):
        """What the wrong ones do beside."""

    def scope(self, context):
        return context.layers(1)

    def expected_forwards(self, blocks, step, dev):
        return 2


def failures(cls, **settings):
    """The names of the checks that fail, and the whole account."""
    try:
        check_selector(cls, **settings)
    except AssertionError as e:
        return [line.split()[1] for line in str(e).splitlines()[1:]], str(e)
    return [], ""


def test_the_right_one_passes_and_the_report_says_what_was_checked():
    report = check_selector(Right)
    assert report.passed and {f.check for f in report} == set(CHECKS)
    assert report.of("S3")[0].detail == "{'calibration': 2}"
    assert report.of("S6")[0].passed is None


class GlobalStream(Right):
    def scope(self, context):
        return context.layers(int(torch.randint(0, LAYERS, ())))


class NumpyStream(Right):
    def more(self, context):
        np.random.random()


class OtherFacts(Right):
    def more(self, context):
        context.note(at=time.perf_counter())


class AsksForTest(Right):
    def more(self, context):
        context.note(n=len(context._prepared._splits.test))


class FeedsTest(Right):
    def more(self, context):
        body_forward(context.loaded, context._prepared._scored.test[0])
        context.count("calibration", 1)

    def expected_forwards(self, blocks, step, dev):
        return 3


class HasTestItemsFromElsewhere(Right):
    """Asks the context for nothing: it found the test file itself."""

    def more(self, context):
        body_forward(context.loaded, _rows("test", [0, 1]))
        context.count("calibration", 1)

    def expected_forwards(self, blocks, step, dev):
        return 3


class LooksAtDev(Right):
    def more(self, context):
        context.count("calibration", context._prepared.dev_loss(context.loaded.model).forwards)

    def expected_forwards(self, blocks, step, dev):
        return 2 + dev


class CountsNothing(Right):
    def more(self, context):
        body_forward(context.loaded, context.calibration(1, 4)[0])

    def expected_forwards(self, blocks, step, dev):
        return 3


class CountsAsTraining(Right):
    def more(self, context):
        context.count("train", 1)


class ExpectsNothing(Right):
    def expected_forwards(self, blocks, step, dev):
        return 0


class MovesWeights(Right):
    def more(self, context):
        weight = next(context.loaded.model.parameters())
        with torch.no_grad():
            weight.add_(1.0).sub_(1.0)  # back, but for rounding


class LeavesAHook(Right):
    def more(self, context):
        context.blocks[0].module.register_forward_hook(lambda *_: None)


class LeavesGradients(Right):
    def more(self, context):
        next(context.loaded.model.parameters()).requires_grad_(True)


class LeavesTraining(Right):
    def more(self, context):
        context.loaded.model.train()


class OfACopy(Right):
    def scope(self, context):
        return Scope([(n, p.clone()) for n, p in context.layers(1).named], layers=(1,))


class Backwards(Right):
    def scope(self, context):
        return Scope(reversed(context.layers(1).named), layers=(1,))


class TellsAnotherBlock(Right):
    def scope(self, context):
        return Scope(context.layers(1).named, layers=(2,))


class SometimesNothing(Right):
    def scope(self, context):
        return Schedule(context.layers(1), context.blocks, lambda step: [1] if step != 99 else [])


class Impure(Right):
    def scope(self, context):
        turns = itertools.count()
        return Schedule(context.layers(*range(LAYERS)), context.blocks, lambda step: [next(turns) % LAYERS])


class MaskedAway(Right):
    def scope(self, context):
        named = context.layers(1).named
        return Scope(named, masks={n: torch.zeros(p.shape, dtype=torch.bool) for n, p in named}, layers=(1,))


WRONG = {
    GlobalStream: ("S1", ""),
    NumpyStream: ("S1", "it draws from a global random stream"),
    OtherFacts: ("S1", "the same context gave other facts"),
    AsksForTest: ("S2", "it asked for _splits"),
    FeedsTest: ("S2", "it asked for _scored"),
    HasTestItemsFromElsewhere: ("S2", "a test item passed through the model"),
    LooksAtDev: ("S2", "a dev item passed through the model outside of a probe"),
    CountsNothing: ("S3", "3 forwards were made, {'calibration': 2} counted"),
    CountsAsTraining: ("S3", "counted as train"),
    ExpectsNothing: ("S3", "2 forwards were made, expected_forwards says 0"),
    MovesWeights: ("S4", "weights were not put back: model.embed_tokens.weight"),
    LeavesAHook: ("S4", "hooks were left on the model"),
    LeavesGradients: ("S4", "requires_grad was changed"),
    LeavesTraining: ("S4", "modules were put into another mode"),
    OfACopy: ("S5", "not the model's own parameters"),
    Backwards: ("S5", "not in the model's order"),
    TellsAnotherBlock: ("S5", "it touches blocks (1,) and tells (2,)"),
    SometimesNothing: ("S5", "nothing may move in step 99"),
    Impure: ("S6", "moves other tensors when it is asked for again"),
    MaskedAway: ("S7", "nothing moved"),
}


@pytest.mark.parametrize("cls", WRONG, ids=lambda cls: cls.__name__)
def test_a_wrong_one_fails(cls):
    check, says = WRONG[cls]
    failed, text = failures(cls)
    assert check in failed and says in text, text
    if cls not in (Impure, GlobalStream, OfACopy, MaskedAway, SometimesNothing):
        assert failed == [check], "nothing else is wrong with it"


def test_the_planted_block_must_be_found_wherever_it_is():
    assert failures(Right, finds={"outlier": 1})[1].endswith("planted in block 2, it chose (1,)")
    with pytest.raises(AssertionError, match="nothing called 'jewel' can be planted; known: outlier, sensitive"):
        check_selector(Right, finds={"jewel": 0})


class Told(Right):
    exercise: ClassVar = {"index": 2}
    planted: ClassVar = {"outlier": 0}
    index: int = 9

    def scope(self, context):
        return context.layers(self.index)


def test_what_a_class_says_of_itself_is_used_and_settings_go_before():
    failed, text = failures(Told)
    assert failed == ["S8"] and "planted in block 0, it chose (2,)" in text and "index=2" in text
    assert failures(Told, finds={}, index=3) == ([], "")


def test_a_selector_that_raises_fails_with_the_place():
    class Raises(Right):
        def more(self, context):
            raise ZobenchError("no")

    failed, text = failures(Raises)
    assert failed[0] == "S1" and "ZobenchError: no" in text and "test_selector_kit_bites.py" in text


def test_the_world_is_what_it_says():
    """The planted blocks are where they should be, and the marks are nowhere else."""
    for plant in PLANTS:
        clean, other = planted(plant, 0), planted(plant, 2)
        names = [n for n, p in clean.model.named_parameters() if not p.equal(dict(other.model.named_parameters())[n])]
        assert {n.split(".")[2] for n in names} == {"0", "2"}
    context = TrialContext(planted("outlier", 1), seed=0)
    train = {t for b in context.calibration(12, 4) for t in b.input_ids.flatten().tolist()}
    assert max(train) < 60 and len(train) > 40
    before = state(context.loaded)["weights"]
    result = context.probe(context.layers(1), 3)
    assert result.forwards == 3 * 2 + 2 and context.forwards == {"probe": 8}
    assert all(torch.equal(before[n], p) for n, p in context.loaded.model.named_parameters())


def test_scopes_that_differ_in_one_thing():
    context = TrialContext(planted("outlier", 1), seed=0)
    one, blocks = context.layers(1), context.blocks
    assert differ(one, context.layers(1)) == ""
    assert differ(one, context.layers(2)) == "other tensors"
    assert "layers" in differ(one, Scope(one.named))
    masks = {one.named[0][0]: torch.ones_like(one.named[0][1], dtype=torch.bool)}
    assert "another mask" in differ(one, Scope(one.named, masks=masks, layers=(1,)))
    two = context.layers(1, 2)
    turns = [Schedule(two, blocks, lambda step, k=k: [1 if step < k else 2]) for k in (100, 101)]
    assert differ(*turns) == "other tensors move in step 100"
    assert SelectorCase(Right, {}).trial.scope.layers == (1,)


def test_a_planted_model_is_the_same_whatever_was_drawn_before():
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        weights.append(planted_module._template.__wrapped__().model.state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(w, weights[1][name]) for name, w in weights[0].items())
