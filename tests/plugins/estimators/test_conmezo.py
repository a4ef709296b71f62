"""conmezo: the algorithm against its equations in plain torch; its cone, its warm-up, and mezo at its edge."""

from __future__ import annotations

import math

import pytest
import torch
from kits.drawing_kit import EPS, LR, Resting, rests, run
from kits.reading_kit import Blocks, batch, difference, draw, plus, slope
from torch import nn
from zobench_plugins.estimators.conmezo import ConMeZO
from zobench_plugins.estimators.mezo import MeZO

from zobench import Scope, ZobenchError

ENGINES = ("flat", "pair", "deferred", "official")


def half(weights):
    g = torch.Generator().manual_seed(1)
    return {n: torch.rand(w.shape, generator=g) < 0.5 for n, w in weights.items()}


def Half(named):  # noqa: N802
    named = list(named)
    return Scope(named, masks=half(dict(named)))


def in_plain_torch(steps=8, angle=1.2, beta=0.8, resting=False, masked=False, norm="global"):
    """z = sqrt(d) cos(angle) m / |m| + sin(angle) u;  m <- beta m + (1 - beta) c z."""
    theta = Blocks().weights()
    m = {n: torch.zeros_like(w) for n, w in theta.items()}
    allowed = half(theta) if masked else {n: torch.ones_like(w, dtype=torch.bool) for n, w in theta.items()}
    for t in range(steps):
        moving = [n for n in theta if not (resting and rests(n, t))]
        u = {n: x * allowed[n] for n, x in draw(theta, t).items() if n in moving}
        squares = {n: float((m[n] * m[n]).sum()) for n in moving}
        counts = {n: int(allowed[n].sum()) for n in moving}
        z = u
        if sum(squares.values()) > 0:
            length = {n: math.sqrt(sum(squares.values()) / sum(counts.values())) for n in moving}
            if norm == "of each tensor":
                length = {n: math.sqrt(squares[n] / counts[n]) for n in moving}
            z = {n: math.cos(angle) * m[n] / length[n] + math.sin(angle) * u[n] for n in moving}
        c = slope(theta, z, batch(t), EPS)
        theta = plus(theta, -LR * c, z)
        b = beta(t) if callable(beta) else beta
        m.update({n: b * m[n] + (1 - b) * c * z[n] for n in moving})
    return theta


SETTINGS = {"angle": 1.2, "beta": 0.8, "warmup": 0}


@pytest.mark.parametrize("engine", ENGINES)
def test_step(engine):
    ours, opt = run(ConMeZO, engine=engine, **SETTINGS)
    assert difference(ours, in_plain_torch()) < 1e-11
    assert difference(ours, in_plain_torch(norm="of each tensor")) > 1e-4
    assert opt.forwards == {"train": 8 * ConMeZO.forwards_per_step}


def test_the_length_of_m_is_over_what_moves_in_the_step():
    assert difference(run(ConMeZO, scope=Resting, **SETTINGS)[0], in_plain_torch(resting=True)) < 1e-11
    assert difference(run(ConMeZO, scope=Half, **SETTINGS)[0], in_plain_torch(masked=True)) < 1e-11


@pytest.mark.parametrize("engine", ENGINES)
def test_at_the_edge_it_is_mezo_bit_for_bit(engine):
    ours, _ = run(ConMeZO, angle=math.pi / 2, engine=engine)
    assert difference(ours, run(MeZO, engine=engine)[0]) == 0


class SineAndCosineSwapped(ConMeZO):
    """The fault of a replication: the angle is taken from the other side."""

    def __init__(self, *args, angle=1.2, **kwargs):
        super().__init__(*args, angle=math.pi / 2 - angle, **kwargs)


class MomentumFirst(ConMeZO):
    """Takes the step in before it goes: the move would be along another z than the looks."""

    def setup(self):
        super().setup()
        descend = self.descend

        def late(grad):
            self.m.assign(0.5 * self.m)
            descend(grad)

        vars(self)["descend"] = late


@pytest.mark.parametrize("wrong", [SineAndCosineSwapped, MomentumFirst])
def test_wrong_cones_are_found(wrong):
    assert difference(run(wrong, **SETTINGS)[0], in_plain_torch()) > 1e-4


def test_warm_up():
    """0.1 over the first tenth, then beta - (beta - 0.1) / (1 + 8 p^1.8)^3 with p from 0 to 1, then beta."""

    def released(t, beta=0.95, steps=20):
        if t <= steps / 10:
            return 0.1
        p = min(1.0, (t - steps / 10) / (0.9 * steps)) ** 1.8
        return beta - (beta - 0.1) / (1 + 8 * p) ** 3 if t < steps else beta

    ours, opt = run(ConMeZO, angle=1.2, beta=0.95, warmup=20)
    assert difference(ours, in_plain_torch(beta=released)) < 1e-11
    assert difference(ours, in_plain_torch(beta=0.95)) > 1e-6
    betas = []
    for t in range(25):
        vars(opt)["t"] = t
        betas.append(opt.decay())
    assert betas == sorted(betas) and betas[0] == betas[2] == 0.1 and betas[19] < betas[20] == betas[24] == 0.95
    low = run(ConMeZO, steps=0, beta=0.05, warmup=20)[1]
    assert low.decay() == 0.05, "a beta below 0.1 needs no warming"


def test_a_direction_is_as_long_as_mezos_and_a_share_of_it_is_along_m():
    """E |z|^2 = d whatever the angle, and cos^2 of it along m, on a matrix large enough to see it in one draw."""
    w = nn.Parameter(torch.zeros(100, 100, dtype=torch.float64))
    opt = ConMeZO([("w", w)], lr=1.0, warmup=0)
    tape = []

    def loss():  # slope 1 along every direction: the move is minus the direction
        tape.append(0)
        return torch.tensor(1e-3 if len(tape) % 2 else -1e-3, dtype=torch.float64)

    for _ in range(5):
        m, before = opt.m[opt.handles[0]].clone(), w.detach().clone()
        opt.step(loss)
        z = before - w.detach()
        assert float(z.square().mean()) == pytest.approx(1, abs=0.05)
    along = float((z * m).sum() / m.norm()) / 100
    assert along == pytest.approx(math.cos(1.35), abs=0.04)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"angle": 2.0}, "must be at least 0 and at most 1.57"),
        ({"beta": 1.0}, "below 1"),
        ({"warmup": -1}, "at least 0"),
    ],
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        run(ConMeZO, steps=0, **setting)
