"""mezo_svrg: the algorithm against its equations in plain torch, its anchors, and what released code does instead."""

from __future__ import annotations

import itertools

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.mezo_svrg import MeZOSVRG

from zobench import Objective, Scope, ZobenchError

LR, EPS = 1e-3, 1e-3


def extra(step):
    """The further batches of a step."""
    return (batch(1000 * (step + 1) + i) for i in itertools.count())


def run(cls=MeZOSVRG, steps=7, **settings):
    model = Blocks()
    opt = cls(Scope(model.named_parameters()), **{"lr": LR, "engine": "pair", **settings})
    for k in range(steps):
        opt.step(objective(model, k, extra(k)))
    opt.settle()
    return model.weights(), opt


def in_plain_torch(steps=7, q=3, anchor=2, boost=10.0, z="shared", snapshot="copy"):
    """theta <- theta - eta_1 g at anchors, else theta <- theta - eta_2 [G_B(theta) - G_B(phi) + g]."""
    theta = Blocks().weights()
    for t in range(steps):
        if t % q == 0:
            phi, far = theta, draw(theta, t)
            batches = [batch(t), *itertools.islice(extra(t), anchor - 1)]
            c_far = sum(slope(theta, far, b, EPS) for b in batches) / anchor
            theta = plus(theta, -boost * LR * c_far, far)
            continue
        d = draw(theta, t)
        y = d if z == "shared" else draw(theta, t, 2)
        c = slope(theta, d, batch(t), EPS)
        moved = plus(theta, -LR * c, d)
        at = slope(moved if snapshot == "live" else phi, y, batch(t), EPS)
        theta = plus(plus(moved, LR * at, y), -LR * c_far, far)
    return theta


@pytest.mark.parametrize("z", ["shared", "independent"])
@pytest.mark.parametrize("snapshot", ["copy", "live"])
def test_step(z, snapshot):
    settings = {"q": 3, "anchor": 2, "z": z, "snapshot": snapshot}
    ours, _ = run(**settings)
    assert difference(ours, in_plain_torch(**settings)) < 1e-11
    others = [("shared", "copy"), ("independent", "copy"), ("shared", "live"), ("independent", "live")]
    others.remove((z, snapshot))
    for other_z, other in others:
        assert difference(ours, in_plain_torch(q=3, anchor=2, z=other_z, snapshot=other)) > 1e-7


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(q=3, anchor=2, engine=engine)[0], in_plain_torch()) < 1e-11


@pytest.mark.parametrize("settings", [{"anchor": 3}, {"boost": 5.0}, {"q": 2}])
def test_each_setting_does_something(settings):
    ours, _ = run(**{"q": 3, "anchor": 2, **settings})
    assert difference(ours, in_plain_torch(**settings)) < 1e-11
    assert difference(ours, in_plain_torch()) > 1e-7


@pytest.mark.parametrize("engine", ["flat", "official", "deferred", "pair"])
def test_at_every_step_an_anchor_of_one_batch_it_is_mezo_bit_for_bit(engine):
    """On `official`, where looks that are not asked for together are restored apart by arithmetic, up to rounding."""
    ours, opt = run(q=1, anchor=1, boost=1.0, engine=engine)
    assert difference(ours, run(MeZO, engine=engine)[0]) <= (1e-14 if engine == "official" else 0)
    assert opt.state_bytes() == 0


def test_forwards_are_those_of_the_card():
    _, opt = run(steps=4)
    assert opt.forwards == {"train": 4 * MeZOSVRG.forwards_per_step, "extra": 4 * MeZOSVRG.extra_forwards_per_step}


def test_the_difference_of_two_estimates_is_small_along_one_z_and_large_along_two():
    """Near the anchor the correction G_B(theta) - G_B(phi) must be little beside G_B itself, or it corrects nothing."""

    def correction(z):
        model = Blocks()
        opt = MeZOSVRG(Scope(model.named_parameters()), lr=1e-6, q=2, anchor=1, z=z, engine="pair")
        opt.step(objective(model, 0))
        before, g = model.weights(), float(opt.c[opt.handles[0]])
        opt.step(objective(model, 1))
        far = draw(before, 0)
        rest = {n: (before[n] - w) / 1e-6 - g * far[n] for n, w in model.weights().items()}
        return sum(float(v.square().sum()) for v in rest.values()) ** 0.5

    alone = {
        n: v * slope(Blocks().weights(), draw(Blocks().weights(), 1), batch(1), EPS)
        for n, v in draw(Blocks().weights(), 1).items()
    }
    size = sum(float(v.square().sum()) for v in alone.values()) ** 0.5
    assert correction("shared") < 1e-3 * size < 0.5 * size < correction("independent")


def test_what_rested_at_the_anchor_is_looked_at_where_it_stands_and_has_no_part_in_g():
    class Late(Scope):
        """The head moves from step 1 on, the embedding at every step."""

        def active(self, step):
            return lambda name: name == "embed" or step >= 1

    model = Blocks()
    named = [(n, p) for n, p in model.named_parameters() if n in ("embed", "head")]
    opt = MeZOSVRG(Late(named), lr=LR, q=3, anchor=1, engine="pair")
    theta = model.weights()
    for t in range(2):
        opt.step(objective(model, t))
    far = {"embed": draw(theta, 0)["embed"]}
    c_far = slope(theta, far, batch(0), EPS)
    phi, theta = theta, plus(theta, -10 * LR * c_far, far)
    d = {n: v for n, v in draw(theta, 1).items() if n in ("embed", "head")}
    c = slope(theta, d, batch(1), EPS) - slope(phi, d, batch(1), EPS)
    assert difference(model.weights(), plus(plus(theta, -LR * c, d), -LR * c_far, far)) < 1e-12


def test_phi_is_exact_where_16_bit_moves_round_away():
    """phi - theta is taken of the weights as they are, not summed up from the moves that were meant."""
    w = nn.Parameter(torch.full((8,), 100.0, dtype=torch.float16))
    opt = MeZOSVRG([("w", w)], lr=1e-6, q=2, anchor=1)
    for _ in range(2):
        opt.step(lambda: w.detach().float().sum())
    assert float(opt.gap[opt.handles[0]].abs().max()) == 0.0


def test_a_plain_closure_has_no_further_batches():
    model = Blocks()
    with pytest.raises(TypeError, match="needs objective.fresh"):
        MeZOSVRG(Scope(model.named_parameters()), lr=LR).step(lambda: torch.tensor(1.0))
    with pytest.raises(RuntimeError, match="no further batches"):
        MeZOSVRG(Scope(model.named_parameters()), lr=LR).step(Objective(model, lambda f, b: f(b[0]).sum(), batch(0)))


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"q": 0}, "q=0: must be at least 1"),
        ({"q": 65}, "q=65: must be at least 1 and at most 64"),
        ({"anchor": 0}, "anchor=0: must be at least 1"),
        ({"snapshot": "alias"}, "snapshot"),
    ],
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        MeZOSVRG(Scope(Blocks().named_parameters()), lr=LR, **setting)
