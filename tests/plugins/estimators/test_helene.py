"""HELENE: the step against its equations in plain torch, and what is not it."""

from __future__ import annotations

import math

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, objective, slope
from torch import nn
from zobench_plugins.estimators.helene import HELENE
from zobench_plugins.estimators.mezo import MeZO

from zobench import Scope, ZobenchError

LR, EPS, STEPS = 1e-2, 1e-3, 8
SETTINGS = {
    "beta1": 0.8,
    "beta2": 0.7,
    "every": 3,
    "horizon": 5,
    "gamma": 1.5,
    "floor": 0.2,
    "scale": 4.0,
    "delta": 1e-3,
}


def run(cls, engine="pair", **settings):
    model = Blocks()
    opt = cls(Scope(model.named_parameters()), lr=LR, engine=engine, **settings)
    for k in range(STEPS):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights()


def helene(beta1, beta2, every, horizon, gamma, floor, scale, delta, clip="constant"):
    theta = Blocks().weights()
    m, h = ({n: torch.zeros_like(w) for n, w in theta.items()} for _ in range(2))
    for t in range(STEPS):
        z = draw(theta, t)
        c = slope(theta, z, batch(t), EPS)
        alpha = beta1 + (1 - beta1) * math.exp(-t / horizon)
        moved = {}
        for n, w in theta.items():
            g = c * z[n]
            m[n] = beta1 * m[n] + alpha * g
            if t % every == 0:
                h[n] = beta2 * h[n] + (1 - beta2) * scale * g * g
            least = floor if clip == "constant" else floor / (2 * w.numel() ** 0.5)
            moved[n] = w - LR * m[n] / (gamma * h[n].clamp(min=least) + delta)
        theta = moved
    return theta


@pytest.mark.parametrize("clip", ["constant", "dimension"])
@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_step(clip, engine):
    assert difference(run(HELENE, engine=engine, clip=clip, **SETTINGS), helene(clip=clip, **SETTINGS)) < 1e-9


OTHERS = [
    {"every": 1},
    {"horizon": 10**6},
    {"floor": 1e-6},
    {"scale": 1.0},
    {"gamma": 1.0},
    {"clip": "dimension"},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_every_constant_tells(other):
    assert difference(run(HELENE, **SETTINGS), helene(**{**SETTINGS, **other})) > 1e-6


def test_at_neutral_settings_it_is_mezo():
    assert difference(run(HELENE, **HELENE.neutral), run(MeZO)) < 1e-12


def test_state_is_two_values_a_parameter_and_a_bound_a_tensor():
    for clip, more in (("constant", 0), ("dimension", 1)):
        model = Blocks()
        opt = HELENE(Scope(model.named_parameters()), lr=LR, clip=clip)
        opt.step(objective(model, 0))
        numel, tensors = sum(p.numel() for p in model.parameters()), len(list(model.parameters()))
        assert opt.state_bytes() == 8 * (2 * numel + more * tensors)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"every": 0}, "every=0: must be at least 1"),
        ({"floor": 0}, "floor=0: must be above 0"),
        ({"clip": "layer"}, "choice 'layer'"),
    ],
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        HELENE([("w", nn.Parameter(torch.zeros(2, 2)))], lr=1.0, **setting)
