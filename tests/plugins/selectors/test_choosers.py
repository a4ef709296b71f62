"""Selectors that choose one block by looking or trying: each rule read a second time."""

from __future__ import annotations

import math
import statistics
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from zobench_plugins.selectors.emergence_layer import EmergenceLayer
from zobench_plugins.selectors.exhaustive_sweep import ExhaustiveSweep
from zobench_plugins.selectors.max_jump import MaxJump
from zobench_plugins.selectors.sensitivity import Sensitivity
from zobench_plugins.selectors.successive_halving import SuccessiveHalving

from zobench import ProbeResult, ZobenchError
from zobench.models.load import adopt
from zobench.testing.planted import LAYERS, TrialContext, planted
from zobench.testing.reference_mezo import ReferenceMeZO


@pytest.fixture
def context():
    return TrialContext(planted("outlier", 1), seed=0)


@pytest.fixture
def single():
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2)
    return TrialContext(adopt(LlamaForCausalLM(config), tokenizer, name="one block"), seed=0)


# ---- sensitivity


def test_sensitivity_is_the_loss_change_along_the_first_steps_direction():
    context = TrialContext(planted("sensitive", 2), seed=3)
    (batch,) = context.calibration(1, 8)
    base = float(context.loss(batch))
    want, two_sided = [], []
    for index in range(LAYERS):
        scope = context.layers(index)
        start = [p.clone() for _, p in scope.named]
        opt = ReferenceMeZO(scope, lr=1.0, engine="flat", seed=3, eps=1e-2)
        opt.step(lambda: context.watched.loss(context.loaded.model, batch))
        opt.settle()
        plus, minus = (float(x) for x in opt.log[0].seen)
        two_sided.append(abs(plus - minus) / 2)
        with torch.no_grad():
            for (_, p), old in zip(scope.named, start, strict=True):  # the move is -c z: from it, z
                p.copy_(old + 1e-2 * (p - old) / -((plus - minus) / 2e-2))
            want.append(abs(float(context.loss(batch)) - base))
            for (_, p), old in zip(scope.named, start, strict=True):
                p.copy_(old)
    context.forwards.clear()
    Sensitivity(eps=1e-2, batches=1).select(context)
    assert context.facts["loss_changes"] == pytest.approx(want, rel=0.05, abs=2e-6)
    assert context.facts["loss_changes"][2] != pytest.approx(two_sided[2], rel=0.05), "not MeZO's two-sided difference"
    assert context.facts["chosen"] == 2 and context.facts["loss"] == base
    assert context.forwards == {"calibration": 1 + LAYERS}


def test_sensitivity_averages_over_batches_and_draws():
    context = TrialContext(planted("sensitive", 0), seed=0)
    selector = Sensitivity(batches=3, draws=2, batch_size=4)
    assert selector.select(context).layers == (0,)
    assert context.forwards == {"calibration": selector.expected_forwards(LAYERS, 2, 9)} == {"calibration": 27}


def test_of_equally_sensitive_blocks_the_earlier_is_chosen(context, monkeypatch):
    monkeypatch.setattr(Sensitivity, "_change", lambda self, context, index, *more: 1.0 if index else 0.5)
    assert Sensitivity().select(context).layers == (1,)


def test_sensitivity_faults_leave_the_model_as_it_was(context, monkeypatch):
    before = {n: p.clone() for n, p in context.loaded.model.named_parameters()}
    real, calls = context.loss, []

    def loss(batch):
        calls.append(1)
        return real(batch) if len(calls) < 7 else torch.tensor(math.inf)

    monkeypatch.setattr(context, "loss", loss)
    with pytest.raises(ZobenchError, match=r"block 0 perturbed by eps=0.001; lower sensitivity.eps"):
        Sensitivity().select(context)
    assert all(torch.equal(p, before[n]) for n, p in context.loaded.model.named_parameters())
    with pytest.raises(ZobenchError, match="the loss of planted is not finite; try another --dtype"):
        Sensitivity().select(context)


# ---- max_jump


def test_max_jump_is_the_largest_ratio_of_maxima(context):
    assert MaxJump().select(context).layers == (1,)
    largest = []
    for batch in context.calibration(4, 8):
        hooks, seen = [], []
        for block in context.blocks:
            hooks.append(block.module.register_forward_hook(lambda m, x, y, to=seen: to.append(y)))
        with torch.no_grad():
            context.loaded.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        for hook in hooks:
            hook.remove()
        mask = batch.attention_mask.bool()
        largest.append([float((y[0] if isinstance(y, tuple) else y)[mask].abs().max()) for y in seen])
    m = [max(column) for column in zip(*largest, strict=True)]
    assert context.facts["jump"] == pytest.approx(m[1] / m[0], rel=1e-6)
    assert m[1] / m[0] == max(b / a for a, b in zip(m, m[1:], strict=False))


def test_max_jump_and_block_0():
    context = TrialContext(planted("outlier", 0), seed=0)
    assert MaxJump().select(context).layers != (0,)
    assert MaxJump(embedding=True).select(context).layers == (0,)
    assert len(context.facts["activations"]) == LAYERS + 1


def test_max_jump_of_one_block(single):
    with pytest.raises(ZobenchError, match="one block has one decoder block; set max_jump.embedding=true"):
        MaxJump().select(single)
    assert MaxJump(embedding=True).select(single).layers == (0,)


# ---- emergence_layer


def states(context, *, first_column=False):
    """h of each row's first real token before block 0 and after each block but the last, by output_hidden_states."""
    out = []
    for batch in context.calibration(4, 8):
        with torch.no_grad():
            hidden = context.loaded.model(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask, output_hidden_states=True
            ).hidden_states[:LAYERS]  # the one after the last block has gone through the final norm
        at = [0 if first_column else row.tolist().index(1) for row in batch.attention_mask]
        out.append([h[range(len(at)), at].double() for h in hidden])
    return [torch.cat(of) for of in zip(*out, strict=True)]


def test_emergence_is_growth_that_lasts(context):
    assert EmergenceLayer().select(context).layers == (1,)
    told, h, wrong = context.facts["blocks"], states(context), states(context, first_column=True)
    growth = [float(b.norm(dim=1).mean() / a.norm(dim=1).mean()) for a, b in zip(h, h[1:], strict=False)]
    assert [row["growth"] for row in told[:3]] == pytest.approx(growth, rel=1e-5)
    assert float(wrong[1].norm(dim=1).mean() / wrong[0].norm(dim=1).mean()) != pytest.approx(growth[0], rel=1e-3)
    cosines = [float(torch.cosine_similarity(h[1], later).mean()) for later in h[2:]]
    assert told[0]["kept"] == pytest.approx(statistics.median(cosines), abs=1e-6)
    assert [row["kept"] for row in told[2:]] == [1.0, 1.0], "no later block but the last"
    assert context.forwards == {"calibration": 4}


def test_emergence_passes_over_growth_that_does_not_last(context):
    """Block 0 amplifies too, into another direction, which block 1 drowns."""
    with torch.no_grad():
        context.blocks[0].module.mlp.down_proj.weight[3] *= 300
    assert EmergenceLayer().select(context).layers == (1,)
    rows = context.facts["blocks"]
    assert rows[0]["growth"] > 10 and rows[0]["kept"] < 0.9
    assert EmergenceLayer(direction=0).select(context).layers == (0,)


def test_emergence_faults(context):
    with pytest.raises(ZobenchError, match=r"by 1e\+09 for good: the most is x\d+\.\d, at block 1, kept with a cosine"):
        EmergenceLayer(growth=1e9).select(context)
    assert context.facts["chosen"] is None and len(context.facts["blocks"]) == LAYERS


# ---- successive_halving


class Table:
    """A context of n blocks whose probes come from a function of (block, steps)."""

    def __init__(self, n, loss):
        self.blocks = [SimpleNamespace(index=i) for i in range(n)]
        self.loss_of, self.probed, self.facts = loss, [], {}

    def layers(self, *indices):
        if not all(i < len(self.blocks) for i in indices):
            raise ZobenchError("no such block")
        return SimpleNamespace(layers=indices)

    def note(self, **facts):
        self.facts.update(facts)

    def probe(self, scope, steps, lr=None, *, metric=False):
        self.probed.append((*scope.layers, steps, lr))
        return ProbeResult(self.loss_of(scope.layers[0], steps), 10, 1)


def test_halving_finds_the_sweeps_block_at_a_fraction_of_its_forwards():
    def loss(i, steps):
        return 1 - steps / 200 * (0.5 if i == 17 else 0.1 + 0.01 * (i % 7))

    context, sweep = Table(32, loss), Table(32, loss)
    halving = SuccessiveHalving()
    assert halving.select(context).layers == ExhaustiveSweep().select(sweep).layers == (17,)
    assert halving.rounds(32) == [(32, 7), (11, 22), (4, 67), (2, 200)]
    assert [len(r["dev_loss"]) for r in context.facts["rounds"]] == [32, 11, 4, 2]
    trained = [sum(steps for _, steps, _ in c.probed) for c in (context, sweep)]
    assert trained[0] / trained[1] == pytest.approx(0.18, abs=0.005)
    told = halving.expected_forwards(32, 2, 63), ExhaustiveSweep().expected_forwards(32, 2, 63)
    assert told[0] == 2 * trained[0] + 63 * len(context.probed) and told[0] / told[1] < 0.4


def test_halving_loses_what_blooms_late_where_the_sweep_does_not():
    def loss(i, steps):
        return 0.0 if i == 3 and steps == 200 else 1 - i / 100

    assert SuccessiveHalving().select(Table(9, loss)).layers == (8,)
    assert ExhaustiveSweep().select(Table(9, loss)).layers == (3,)


def test_halving_settings_ties_and_lost_blocks():
    context = Table(9, lambda i, steps: math.inf if i in (0, 1) else 0.5)
    assert SuccessiveHalving(eta=2, steps=8, lr="1e-4").select(context).layers == (2,)  # of equal ones the earlier
    assert SuccessiveHalving(eta=2, steps=8).rounds(9) == [(9, 1), (5, 2), (3, 4), (2, 8)]
    assert context.probed[:9] == [(i, 1, 1e-4) for i in range(9)]
    assert context.facts["rounds"][0]["dev_loss"]["0"] is None
    some = Table(9, lambda i, steps: float(i))
    assert SuccessiveHalving(blocks="7,5,7").select(some).layers == (5,)
    assert SuccessiveHalving(blocks=(4,)).select(some).layers == (4,) and SuccessiveHalving().rounds(1) == []
    with pytest.raises(ZobenchError, match="all 9 blocks of a round diverged; set a lower successive_halving.lr"):
        SuccessiveHalving().select(Table(9, lambda i, steps: math.nan))
    before = len(some.probed)
    with pytest.raises(ZobenchError, match="no such block"):
        SuccessiveHalving(blocks="0,99").select(some)
    assert len(some.probed) == before, "told before anything is tried"
    with pytest.raises(ZobenchError, match="at least 2"):
        SuccessiveHalving(eta=1)


@pytest.mark.parametrize("cls", [ExhaustiveSweep, SuccessiveHalving])
def test_blocks_that_are_not_there_are_refused_before_anything_runs(cls):
    cls(blocks="0,3").check(4)
    with pytest.raises(ZobenchError, match="blocks=4: the model has decoder blocks 0 to 3, not 4"):
        cls(blocks="0,4").check(4)


def test_a_model_of_one_block_is_refused_before_anything_runs():
    MaxJump(embedding=True).check(1)
    with pytest.raises(ZobenchError, match="the model has one decoder block"):
        MaxJump().check(1)
