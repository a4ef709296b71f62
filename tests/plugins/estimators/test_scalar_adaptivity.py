"""MEAZO and AdaMeZO: each step against its equations in plain torch, and what is not it."""

from __future__ import annotations

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.adamezo import AdaMeZO
from zobench_plugins.estimators.meazo import MEAZO
from zobench_plugins.estimators.mezo import MeZO

from zobench import Scope, ZobenchError
from zobench.testing.problems import Rotating

LR, EPS, STEPS = 1e-2, 1e-3, 8


def run(cls, steps=STEPS, engine="pair", scope=Scope, seed=0, **settings):
    """The weights after so many steps, and the estimator."""
    model = Blocks()
    opt = cls(scope(model.named_parameters()), lr=LR, engine=engine, seed=seed, **settings)
    for k in range(steps):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights(), opt


def ends(cls, **settings):
    return run(cls, **settings)[0]


# ---- MEAZO


def meazo(q, beta, delta, corrected=True):
    theta, v = Blocks().weights(), 0.0
    for t in range(STEPS):
        zs = [draw(theta, t, number=i + 1) for i in range(q)]
        cs = [slope(theta, z, batch(t), EPS) for z in zs]
        v = beta * v + (1 - beta) * (sum(cs) / q) ** 2
        rate = LR / ((v / (1 - beta ** (t + 1)) if corrected else v) ** 0.5 + delta)
        for c, z in zip(cs, zs, strict=True):
            theta = plus(theta, -rate * c / q, z)
    return theta


@pytest.mark.parametrize("settings", [{}, {"q": 3, "beta": 0.6, "delta": 0.5}], ids=["defaults", "q3"])
@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_meazo_step(settings, engine):
    expected = meazo(**{"q": 1, "beta": 0.999, "delta": 1e-8, **settings})
    assert difference(ends(MEAZO, engine=engine, **settings), expected) < 1e-10


def test_meazo_without_its_bias_correction_is_another_method():
    assert difference(ends(MEAZO), meazo(1, 0.999, 1e-8, corrected=False)) > LR


def test_meazo_keeps_one_number_and_its_first_step_has_length_lr():
    model = Blocks()
    before = model.weights()
    opt = MEAZO(Scope(model.named_parameters()), lr=LR, engine="pair")
    opt.step(objective(model, 0))
    opt.settle()
    assert opt.state_bytes() == 8, "one float64"
    z = draw(before, 0)
    assert all(torch.allclose((model.weights()[n] - w).abs(), LR * z[n].abs()) for n, w in before.items())


def test_meazo_is_one_number_for_a_scope_that_changes():
    def layers(named):
        return Rotating(list(named), layers=3, period=1)

    theta, v = Blocks().weights(), 0.0
    for t in range(STEPS):
        z = {n: x for n, x in draw(theta, t).items() if f"layers.{t % 3}." in n or "layers" not in n}
        c = slope(theta, z, batch(t), EPS)
        v = 0.999 * v + 0.001 * c**2
        theta = plus(theta, -LR * c / ((v / (1 - 0.999 ** (t + 1))) ** 0.5 + 1e-8), z)
    assert difference(ends(MEAZO, scope=layers), theta) < 1e-10


@pytest.mark.parametrize("cls", [MEAZO, AdaMeZO])
def test_large_slopes_in_float16_stay_finite(cls):
    w = nn.Parameter(torch.zeros(4, 4, dtype=torch.float16))
    opt = cls([("w", w)], lr=1e-3)
    seen = iter(torch.tensor([6.0, 5.0] * 3, dtype=torch.float16))  # a slope of 500: its square is no float16
    for _ in range(3):
        opt.step(lambda: next(seen))
    opt.settle()
    assert bool(w.isfinite().all()) and bool((w != 0).any())


# ---- AdaMeZO


def adamezo(h, form="paper", beta1=0.7, beta2=0.9, delta=1e-5, active=None):
    """Moments summed anew at every step from the looks of the last h steps, each on the tensors that moved in it."""
    theta, looks = Blocks().weights(), []
    for t in range(STEPS):
        z = {n: x for n, x in draw(theta, t).items() if active is None or active(t, n)}
        c = slope(theta, z, batch(t), EPS)
        looks.append({n: c * x for n, x in z.items()})
        if form == "released" and t <= h:  # the released counter is compared with <=
            theta = plus(theta, -LR, looks[-1])
            continue
        step = {}
        for n in z:
            window = [(k, g[n]) for k, g in enumerate(reversed(looks[-h:])) if n in g]
            m, v = sum(beta1**k * g for k, g in window), sum(beta2**k * g * g for k, g in window)
            if form == "paper":
                step[n] = (1 - beta1) * m / ((1 - beta2) * v + delta**2).sqrt()
            else:
                step[n] = 100 * m / (v.sqrt() + delta)
        theta = plus(theta, -LR, step)
    return theta


@pytest.mark.parametrize("settings", [{"h": 10}, {"h": 3}, {"h": 3, "form": "released"}, {"h": 2, "delta": 0.5}])
@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_adamezo_step(settings, engine):
    assert difference(ends(AdaMeZO, engine=engine, **settings), adamezo(**settings)) < 1e-8


def test_adamezo_forms_and_windows_are_told_apart():
    paths = [adamezo(10), adamezo(3), adamezo(3, "released"), adamezo(3, beta1=0.0)]
    assert all(difference(a, b) > 1e-3 for i, a in enumerate(paths) for b in paths[:i])


def test_adamezo_on_a_scope_that_changes_looks_back_at_what_moved():
    def layers(named):
        return Rotating(list(named), layers=3, period=1)

    def active(t, name):
        return f"layers.{t % 3}." in name or "layers" not in name

    assert difference(ends(AdaMeZO, scope=layers), adamezo(10, active=active)) < 1e-8


@pytest.mark.parametrize("noise", ["per_tensor", "official"])
def test_adamezo_as_released_begins_as_mezo_bit_for_bit(noise):
    released, plain = (
        run(c, steps=5, noise=noise, **s)[0] for c, s in ((AdaMeZO, {"form": "released", "h": 4}), (MeZO, {}))
    )
    assert difference(released, plain) == 0, "h steps and one more"
    released = ends(AdaMeZO, steps=6, noise=noise, form="released", h=4)
    assert difference(released, ends(MeZO, steps=6, noise=noise)) > 0


def test_adamezo_keeps_h_numbers():
    _, opt = run(AdaMeZO, h=7)
    assert opt.state_bytes() == 7 * 8


@pytest.mark.parametrize(
    ("cls", "setting", "text"),
    [
        (MEAZO, {"q": 0}, "q=0: must be at least 1"),
        (MEAZO, {"beta": 1.0}, "beta=1.0: must be at least 0 and below 1"),
        (AdaMeZO, {"h": 66}, "h=66: must be at least 1 and at most 65"),
        (AdaMeZO, {"form": "release"}, "did you mean 'released'"),
    ],
)
def test_wrong_settings_are_named(cls, setting, text):
    with pytest.raises(ZobenchError, match=text):
        cls([("w", nn.Parameter(torch.zeros(2, 2)))], lr=1.0, **setting)
