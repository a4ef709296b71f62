"""Methods around others' steps, `dizo+fzoo` and `adalezo+zo_adam`: what they are around mezo, and around each."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import run
from kits.reading_kit import BATCH, Blocks, batch, difference, loss, went
from zobench_plugins.estimators.adalezo import AdaLeZO
from zobench_plugins.estimators.dizo import DiZO

from zobench import Objective, ZobenchError
from zobench.plugins.along import apart, canonical
from zobench.plugins.registry import load_plugins
from zobench.testing.attempt import same

PLUGINS = load_plugins(only="")
DIZO = {"targets": ("layers",), "kappa": 2, "inner": 2}


def make(model, k):
    def extra():
        number = 10_000 * (k + 1)
        while True:
            number += 1
            yield batch(number)

    return Objective(model, loss, batch(k), extra(), batched=False)


def end(name, lr=1e-2, **settings):
    return run(PLUGINS.estimator(name) if isinstance(name, str) else name, steps=6, make=make, lr=lr, **settings)


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred"])
def test_dizo_around_mezo_is_dizo_bit_for_bit(engine):
    assert same(end("dizo+mezo", engine=engine, **DIZO)[0], end(DiZO, engine=engine, **DIZO)[0])


@pytest.mark.parametrize("inner", ["mezo", "fzoo", "zo_adam", "hizoo", "n_spsa:lozo", "lozo", "es"])
def test_dizo_projects_after_the_others_step(inner):
    """Without a projection the path is the other method's own; with one it leaves it where that is due, not before."""
    plain, _ = end(inner)
    never, _ = end(f"dizo+{inner}", **{**DIZO, "kappa": 100})
    assert same(plain, never)
    projected, opt = end(f"dizo+{inner}", **DIZO)
    assert difference(projected, plain) > 1e-6 and opt.forwards["extra"] == 3 * 2 * 2
    first = run(PLUGINS.estimator(inner), steps=1, make=make)[0]
    assert same(first, run(PLUGINS.estimator(f"dizo+{inner}"), steps=1, make=make, **DIZO)[0])


SAME = {"ratio": 0.5}


def test_adalezo_around_mezo_takes_adalezos_steps():
    """The reward is 2 eps |c| instead of |c|, which the softmax of what is divided by the largest does not see."""
    own, around = end(AdaLeZO, **SAME)[0], end("adalezo+mezo", **SAME)[0]
    assert difference(own, around) < 1e-10
    assert difference(own, end("adalezo+mezo", ratio=1.0)[0]) > 1e-4


@pytest.mark.parametrize("inner", ["fzoo", "zo_adam", "hizoo", "lozo", "mezo:tezo", "zo_sgd_momentum", "n_spsa"])
def test_adalezo_moves_the_drawn_blocks_alone(inner):
    model = Blocks()
    opt = PLUGINS.estimator(f"adalezo+{inner}")(model.named_parameters(), lr=1e-2, engine="flat", ratio=0.2)
    for k in range(4):
        before = model.weights()
        opt.step(make(model, k))
        opt.settle()
        moved = {name.partition(".")[2][:1] or name for name in went(before, model.weights())}
        assert len(moved) == 1, "one draw of five blocks"
    rewards = {name: float(v) for name, v in opt.buffers["rewards"].store.items()}
    assert any(rewards.values())


def test_weights_are_inverse_probabilities_and_moves_have_them():
    """One draw of N blocks by chance alone: the step of the drawn block is N times as long."""
    settings = {"ratio": 0.2, "uniform": 1.0}
    model = Blocks()
    before = model.weights()
    opt = PLUGINS.estimator("adalezo+zo_sgd_sign")(model.named_parameters(), lr=1e-2, engine="flat", **settings)
    opt.step(make(model, 0))
    opt.settle()
    after = model.weights()
    (block,) = {n.split(".")[1] if "layers" in n else n for n in went(before, after)}
    lengths = torch.cat([(after[n] - before[n]).abs().flatten() for n in went(before, after)])
    assert torch.allclose(lengths, torch.full_like(lengths, 5 * 1e-2)), block


@pytest.mark.parametrize("inner", ["mezo", "fzoo", "zo_adam", "mezo:lozo"])
def test_curvzo_moves_the_drawn_tensors_alone_by_how_seldom_they_are_drawn(inner):
    model = Blocks()
    opt = PLUGINS.estimator(f"curvzo+{inner}")(model.named_parameters(), lr=1e-2, engine="flat", share=0.2)
    weights = []
    for k in range(6):
        before, drawn = model.weights(), opt.drawn() if k else None
        opt.step(make(model, k))
        opt.settle()
        moved = went(before, model.weights())
        assert 1 <= len(moved) < len(before)
        if drawn is not None:
            assert moved == set(drawn)
            weights += drawn.values()
    assert all(0 < x <= 1 for x in weights)
    assert float(opt.buffers["mean_slope"].store["embed"]) > 1e-8, "it has learnt"


def test_the_move_of_a_tensor_that_curvzo_draws_is_divided_by_its_odds():
    """Around a step of lr in every coordinate."""
    model = Blocks()
    opt = PLUGINS.estimator("curvzo+zo_sgd_sign")(model.named_parameters(), lr=1e-2, engine="flat", share=0.2)
    opt.step(make(model, 0))
    opt.settle()
    odds = []
    for k in range(1, 5):
        before, drawn = model.weights(), opt.drawn()
        opt.step(make(model, k))
        opt.settle()
        for name, pi in drawn.items():
            far = (model.weights()[name] - before[name]).abs()
            assert torch.allclose(far, torch.full_like(far, 1e-2 / pi), rtol=1e-5)
            odds.append(pi)
    assert min(odds) < 0.95


def test_of_all_tensors_curvzo_leaves_another_step_as_it_is():
    settings = {"share": 1.0, "every": 0}
    model, plain = Blocks(), Blocks()
    around = PLUGINS.estimator("curvzo+zo_adam")(model.named_parameters(), lr=1e-2, engine="flat", **settings)
    alone = PLUGINS.estimator("zo_adam")(plain.named_parameters(), lr=1e-2, engine="flat")
    for opt, net in ((around, model), (alone, plain)):
        opt.step(make(net, 0))
        opt.settle()
    assert difference(model.weights(), plain.weights()) < 1e-12


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mezo+fzoo", "mezo is no method around another one's step"),
        ("dizo+sgd", "sgd makes no zeroth-order step"),
        ("dizo+zero_shot", "zero_shot makes no zeroth-order step"),
        ("dizo+lora_zo", "both have a setting called targets"),
        ("dizo+nothing", "unknown estimator 'nothing'"),
    ],
)
def test_what_makes_no_sense_is_refused(name, text):
    with pytest.raises(ZobenchError, match=text):
        PLUGINS.estimator(name)


def test_names():
    assert canonical(" dizo + fzoo : lozo ", ["dizo", "fzoo"], ["lozo"]) == "dizo+fzoo:lozo"
    assert list(apart([("estimators", "dizo+fzoo:lozo"), ("tasks", "sst2")])) == [
        ("estimators", "dizo"),
        ("estimators", "fzoo"),
        ("directions", "lozo"),
        ("tasks", "sst2"),
    ]
    assert BATCH == 7
