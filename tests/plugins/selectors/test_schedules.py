"""Selectors of a schedule, each against its paper's rule read a second time."""

from __future__ import annotations

import itertools
import math
import random
from functools import partial

import pytest
import torch
from torch import nn
from zobench_plugins.selectors import ist as ist_module
from zobench_plugins.selectors.ist import IST, sigmoid, suppressed
from zobench_plugins.selectors.lisa import LISA
from zobench_plugins.selectors.owlore import OwLore
from zobench_plugins.selectors.random_layers import RandomLayers
from zobench_plugins.selectors.round_robin import RoundRobin
from zobench_plugins.selectors.turns import a_step, draw

from zobench import Scope, ZobenchError
from zobench.testing.planted import LAYERS, TrialContext, planted
from zobench.testing.reference_mezo import ReferenceMeZO

OUTSIDE = {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}


@pytest.fixture
def context():
    return TrialContext(planted("outlier", 1), seed=0)


def blocks_at(scope, step, context):
    """The blocks that move in a step, whole ones by assertion."""
    on = scope.active(step)
    moving = {n for n, _ in scope.named if on(n)}
    found = [b.index for b in context.blocks if moving & set(b.parameter_names())]
    assert all(set(context.blocks[i].parameter_names()) <= moving for i in found)
    return found


def outside_at(scope, step):
    on = scope.active(step)
    return {n for n, _ in scope.named if on(n)} & OUTSIDE


# ---- drawing


def exact(weights, count):
    """P(i is among `count` drawn one after the other without replacement), by enumerating the orders."""
    p = [0.0] * len(weights)
    for order in itertools.permutations(range(len(weights)), count):
        chance, left = 1.0, sum(weights)
        for i in order:
            chance, left = chance * weights[i] / left, left - weights[i]
        for i in order:
            p[i] += chance
    return p


def off(drawing, weights, count, n=6000):
    """How many standard errors the worst frequency is from what it should be."""
    seen = [0] * len(weights)
    for turn in range(n):
        for i in drawing(weights, count, 0, turn):
            seen[i] += 1
    expected = exact(weights, count)
    return max(abs(s / n - p) / math.sqrt(p * (1 - p) / n) for s, p in zip(seen, expected, strict=True))


def linear_keys(weights, count, seed, turn):
    """A wrong draw: weights times uniform numbers."""
    source = random.Random(f"{seed}/{turn}")
    return sorted(range(len(weights)), key=lambda i: -weights[i] * source.random())[:count]


@pytest.mark.parametrize("weights", [[1.0, 1, 1, 1], [1.0, 2, 3, 6]])
def test_draws_are_in_proportion_to_weights_without_replacement(weights):
    assert off(draw, weights, 2) < 4.5
    assert weights[0] == weights[3] or off(linear_keys, weights, 2) > 10


def test_as_many_blocks_as_usual_move_or_all_where_there_are_fewer():
    assert [a_step(None, 2, blocks, "lisa.gamma") for blocks in (1, 2, 3)] == [1, 2, 2]
    assert a_step(3, 2, 3, "lisa.gamma") == 3


def test_a_draw_is_a_pure_function_and_another_turn_another_draw():
    assert draw([1.0] * 40, 10, 3, 7) == draw([1.0] * 40, 10, 3, 7) == sorted(set(draw([1.0] * 40, 10, 3, 7)))
    assert len({tuple(draw([1.0] * 40, 10, seed, turn)) for seed in (0, 1) for turn in range(50)}) == 100
    assert draw([0.0, 1, 0, 1], 2, 0, 0) == [1, 3]
    with pytest.raises(ValueError, match="2 indices cannot be drawn of 1"):
        draw([0.0, 1.0], 2, 0, 0)


# ---- random_layers


def test_random_layers_keeps_its_share_and_draws_anew_at_every_step(context):
    scope = RandomLayers().select(context)
    taken = [blocks_at(scope, step, context) for step in range(200)]
    assert {len(t) for t in taken} == {1}  # 4 - round(0.75 * 4)
    assert all(60 > sum(t == [i] for t in taken) > 25 for i in range(LAYERS))
    assert all(outside_at(scope, step) == OUTSIDE for step in range(9))
    assert context.facts["blocks_a_step"] == 1 and context.facts["first_turns"] == taken[:5]


@pytest.mark.parametrize(
    ("settings", "moving", "outside"),
    [
        ({"sparsity": 0.5}, 2, OUTSIDE),
        ({"sparsity": 0}, 4, OUTSIDE),
        ({"sparsity": 0.99}, 1, OUTSIDE),
        ({"count": 3, "rest": False}, 3, set()),
    ],
)
def test_random_layers_settings(context, settings, moving, outside):
    scope = RandomLayers(**settings).select(context)
    assert [len(blocks_at(scope, step, context)) for step in range(5)] == [moving] * 5
    assert outside_at(scope, 3) == outside and set(scope.layers) == set(range(LAYERS))


def test_random_layers_holds_a_draw_and_minds_the_seed():
    first, other = (TrialContext(planted("outlier", 1), seed) for seed in (0, 1))
    scopes = [RandomLayers(count=2, every=7).select(c) for c in (first, other)]
    taken = [[blocks_at(scope, step, first) for step in range(35)] for scope in scopes]
    assert all(t[7 * k : 7 * k + 7] == [t[7 * k]] * 7 for t in taken for k in range(5)) and taken[0] != taken[1]
    with pytest.raises(ZobenchError, match=r"random_layers.count=5: the model has 4 decoder blocks"):
        RandomLayers(count=5).select(first)


def test_a_step_of_a_schedule_is_mezo_on_the_blocks_of_that_step(context):
    """LeZO's equation: looks and update along a z that is zero on resting blocks. Bit for bit, over four steps."""
    other = TrialContext(planted("outlier", 1), seed=0)
    scope = RandomLayers(count=2).select(context)
    opt = ReferenceMeZO(scope, lr=1e-3, engine="flat")
    for step in range(4):
        batch = context.calibration(step + 1, 4)[step]
        opt.step(partial(context.watched.loss, context.loaded.model, batch))
        opt.settle()
        on, own = scope.active(step), dict(other.loaded.model.named_parameters())
        alone = ReferenceMeZO(Scope([(n, own[n]) for n, _ in scope.named if on(n)]), lr=1e-3, engine="flat")
        vars(alone)["t"] = step
        alone.step(partial(other.watched.loss, other.loaded.model, batch))
        alone.settle()
    for name, p in context.loaded.model.named_parameters():
        assert torch.equal(p, own[name]), name


# ---- round_robin


def test_round_robin_is_the_released_rule_by_names(context):
    scope = RoundRobin().select(context)
    for step in range(9):
        on = scope.active(step)
        released = {n for n, _ in context.loaded.model.named_parameters() if f".{step % LAYERS}." in n}
        assert {n for n, _ in scope.named if on(n)} == released


def test_round_robin_settings(context):
    scope = RoundRobin(count=3, every=2, rest=True).select(context)
    assert [blocks_at(scope, step, context) for step in range(0, 8, 2)] == [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    assert blocks_at(scope, 1, context) == [0, 1, 2] and outside_at(scope, 1) == OUTSIDE
    with pytest.raises(ZobenchError, match=r"round_robin.count=9"):
        RoundRobin(count=9).select(context)


# ---- lisa


def alternating(step):
    """The newer public trainer: blocks 1, 2 and 3, 4 by turns, its draw commented out."""
    return [3, 4] if (step // 20) % 2 else [1, 2]


def even(at, n, turns=400, every=20, k=2):
    """Whether every block comes up as often as it should, within five standard errors."""
    seen = [sum(i in at(turn * every) for turn in range(turns)) for i in range(n)]
    p = k / n
    return all(abs(s / turns - p) < 5 * math.sqrt(p * (1 - p) / turns) for s in seen)


def test_lisa_freezes_all_but_gamma_blocks_for_k_steps(context):
    scope = LISA().select(context)
    assert all(blocks_at(scope, s, context) == blocks_at(scope, s // 20 * 20, context) for s in range(100))
    assert all(len(blocks_at(scope, s, context)) == 2 and outside_at(scope, s) == OUTSIDE for s in (0, 20, 40))
    assert even(scope.at, LAYERS)
    assert not even(alternating, 5)
    assert context.facts["every"] == 20 and context.facts["blocks_a_step"] == 2


def test_lisa_is_random_layers_held_longer(context):
    """One seed, one draw: methods that differ in one thing are compared on the same blocks."""
    one, two = LISA(gamma=3, every=5).select(context), RandomLayers(count=3, every=5).select(context)
    assert [one.at(s) for s in range(60)] == [two.at(s) for s in range(60)]
    with pytest.raises(ZobenchError, match=r"lisa.gamma=5: the model has 4 decoder blocks; set it to at most 4"):
        LISA(gamma=5).select(context)


# ---- owlore


def outlier_shares(context, batches, threshold, *, padding=False):
    """OWL's D_l by its definition: A = |W| |X_j|_2 over all linear weights of a block; entries above M mean(A)."""
    out = []
    for block in context.blocks:
        linears = [m for m in block.module.modules() if isinstance(m, nn.Linear)]
        inputs, mask = {id(m): [] for m in linears}, []
        hooks = [
            m.register_forward_hook(lambda m, x, y: inputs[id(m)].append(x[0][mask[0]]))  # noqa: B023
            for m in linears
        ]
        for b in batches:
            mask[:] = [torch.ones_like(b.attention_mask).bool() if padding else b.attention_mask.bool()]
            with torch.no_grad():
                context.loaded.model(input_ids=b.input_ids, attention_mask=b.attention_mask)
        for hook in hooks:
            hook.remove()
        a = torch.cat([(m.weight.abs() * torch.cat(inputs[id(m)]).norm(dim=0)).flatten() for m in linears])
        out.append(float((a > threshold * a.mean()).double().mean()))
    return out


def test_owlore_scores_are_owls(context):
    OwLore(gamma=1).select(context)
    batches = context.calibration(4, 8)
    assert any(bool((b.attention_mask == 0).any()) for b in batches)
    want, wrong = outlier_shares(context, batches, 13.0), outlier_shares(context, batches, 13.0, padding=True)
    assert context.facts["outlier_shares"] == pytest.approx(want, abs=1e-12) and want != wrong
    assert want[0] == 0 < want[1], "before the planted block there is no outlier"
    assert context.forwards == {"calibration": 4}


def test_owlore_draws_blocks_in_proportion_to_their_outliers(context):
    scope = OwLore(gamma=1, every=3, threshold=5).select(context)
    seen = [scope.at(step)[0] for step in range(0, 3 * 600, 3)]
    shares = context.facts["outlier_shares"]
    for i, share in enumerate(shares):
        p = share / sum(shares)
        assert abs(seen.count(i) / 600 - p) < 5 * math.sqrt(p * (1 - p) / 600) + 1e-9
    assert all(scope.at(3 * t) == scope.at(3 * t + 2) for t in range(20)) and outside_at(scope, 0) == OUTSIDE


def test_owlore_modes(context):
    uniform = OwLore(mode="uniform", gamma=2).select(context)
    assert [uniform.at(s) for s in range(0, 500, 50)] == [
        LISA(gamma=2, every=50).select(context).at(s) for s in range(0, 500, 50)
    ]
    later, earlier = (OwLore(mode=m, gamma=1, every=1).select(context) for m in ("increase", "decrease"))
    mean = [sum(s.at(t)[0] for t in range(2000)) / 2000 for s in (later, earlier)]
    assert mean == [pytest.approx(2.0, abs=0.1), pytest.approx(1.0, abs=0.1)]  # sum i (i+1)/10 and its mirror
    reverse = OwLore(mode="owl_reverse", gamma=3, threshold=5).select(context)
    shares = context.facts["outlier_shares"]
    assert all(shares.index(max(shares)) not in reverse.at(50 * t) for t in range(20))


def test_owlore_faults(context):
    with pytest.raises(ZobenchError, match="owlore: 0 of 4 blocks can be drawn, and 1 must be; lower owlore.threshold"):
        OwLore(threshold=1e9).select(context)
    with pytest.raises(ZobenchError, match="owlore: 3 of 4 blocks can be drawn, and 4 must be"):
        OwLore(mode="owl_reverse", gamma=4, threshold=5).select(context)
    with pytest.raises(ZobenchError, match=r"owlore.gamma=5: the model has 4"):
        OwLore(mode="uniform", gamma=5).select(context)
    assert OwLore(mode="uniform").expected_forwards(32, 2, 63) == 0
    assert len(OwLore(mode="uniform").select(context).at(0)) == 4  # none: 5, or all


# ---- ist


def released(losses_of, n, updates, seed, *, sign=1.0):
    """The released update on its reversed score (higher: missed less), over the sets that IST draws."""
    score = torch.zeros(n, dtype=torch.float64)
    selector = IST(updates=updates)
    for update in range(updates):
        sets = selector._sets((-score).tolist(), seed, update)
        rewards = torch.tensor([math.exp(-losses_of(chosen)) for chosen in sets], dtype=torch.float64)
        rewards = rewards - rewards.mean()
        p = score.sigmoid()
        for reward, chosen in zip(rewards, sets, strict=True):
            for i in chosen:
                score[i] += sign * reward * p[i] * (1 - p[i]) * 10
    return (-score).tolist()


def missed(chosen):
    """A loss that rises when block 2 is suppressed."""
    return 1.5 if 2 in chosen else 0.5


@pytest.fixture
def told(monkeypatch):
    """IST whose losses come from `missed`."""
    monkeypatch.setattr(IST, "_loss", lambda self, context, batch, chosen: missed(chosen))


@pytest.mark.parametrize(("share", "moving"), [(0.1, 1), (0.45, 1), (0.5, 2), (0.7, 2), (1.0, 4)])
def test_ist_moves_whole_blocks_of_its_share_and_one_at_least(context, told, share, moving):
    scope = IST(updates=1, share=share).select(context)
    assert context.facts["blocks_a_step"] == moving, "of four"
    assert sum(scope.active(0)(f"model.layers.{i}.mlp.up_proj.weight") for i in range(4)) == moving


def test_ist_learns_as_released_and_moves_what_is_missed(context, told):
    scope = IST(updates=30).select(context)
    importance = context.facts["importance"]
    assert importance == pytest.approx(released(missed, LAYERS, 30, 0), rel=1e-12)
    assert importance != pytest.approx(released(missed, LAYERS, 30, 0, sign=-1.0), rel=1e-2)
    assert max(range(LAYERS), key=importance.__getitem__) == 2 and importance[2] > 1
    seen = [scope.at(step) for step in range(400)]
    assert {len(s) for s in seen} == {1} and sum(s == [2] for s in seen) > 150
    assert outside_at(scope, 0) == set()


def test_ist_suppresses_less_what_is_important_and_sets_differ():
    selector = IST()
    weights = [0.0, 0.0, 6.0, 0.0]
    sets = [s for update in range(100) for s in selector._sets(weights, 0, update)]
    assert sum(2 in s for s in sets) < sum(1 in s for s in sets) / 5
    assert all(len({tuple(s) for s in sets[k : k + 3]}) == 3 for k in range(0, 300, 3))
    assert selector.expected_forwards(2, 2, 1) == 100 * 2  # two blocks: only two sets to compare
    assert len(selector._sets([0.0, 0.0], 0, 0)) == 2
    assert sigmoid(-800.0) == 0.0 and sigmoid(800.0) == 1.0


def test_ist_counts_its_forwards_and_compares_on_one_batch(context, monkeypatch):
    seen = []
    monkeypatch.setattr(ist_module, "suppressed", lambda blocks, factor: seen.append(len(blocks)) or suppressed([], 1))
    IST(updates=2, batch_size=4).select(context)
    assert context.forwards == {"calibration": 6} and seen == [2] * 6
    assert context.facts["importance"] == [0.0] * LAYERS, "equal losses are no reward"


@pytest.mark.parametrize("tuples", [False, True])
def test_suppression_scales_the_blocks_own_contribution(context, tuples):
    class Add(nn.Module):
        def forward(self, hidden_states):
            out = hidden_states + 3
            return (out, "cache") if tuples else out

    block, x = Add(), torch.ones(2)
    with suppressed([block], 0.25):
        got = block(hidden_states=x), block(x)
    for out in got:
        assert torch.equal(out[0] if tuples else out, torch.full((2,), 1.75)) and (not tuples or out[1] == "cache")
    assert not block._forward_hooks
    batch = context.calibration(1, 4)[0]
    with suppressed([b.module for b in context.blocks], 0.0):  # what is left: embedding, final norm, head
        loss = context.loss(batch)
    model = context.loaded.model
    logits = model.lm_head(model.model.norm(model.model.embed_tokens(batch.input_ids)))[:, -2]
    assert float(loss) == pytest.approx(float(nn.functional.cross_entropy(logits, batch.input_ids[:, -1])), rel=1e-5)


def test_ist_faults(context, monkeypatch):
    monkeypatch.setattr(context, "loss", lambda batch: torch.tensor(float("nan")))
    with pytest.raises(ZobenchError, match=r"ist: the loss is not finite with blocks \["):
        IST().select(context)
    context.loaded.blocks[1:] = []
    with pytest.raises(ZobenchError, match="ist: planted has one decoder block"):
        IST().select(context)
