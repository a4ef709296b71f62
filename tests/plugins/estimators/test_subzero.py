"""subzero: the algorithm against its equations in plain torch; the length of its directions; its subspaces."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, Resting, held, rests, run
from kits.reading_kit import Blocks, batch, difference, gaussian, plus, slope
from torch import nn
from zobench_plugins.estimators.subzero import SubZero

from zobench import ZobenchError

SETTINGS = {"rank": 2, "interval": 3}


def in_plain_torch(steps=8, rank=2, interval=3, scale="code", resting=False):
    """W <- W - lr c s U Z V^T, U and V by QR decompositions of what is held."""
    theta = Blocks().weights()
    for t in range(steps):
        d = {}
        for name, w in theta.items():
            if resting and rests(name, t):
                continue
            if w.ndim != 2:
                d[name] = gaussian(0, t, 1, name, tuple(w.shape))
                continue
            m, n = w.shape
            r = min(rank, m, n)
            u, v = (torch.linalg.qr(held(side, t // interval, name, (k, r))).Q for side, k in (("U", m), ("V", n)))
            s = (m * n) ** 0.5 / r if scale == "code" else 1.0
            d[name] = s * u @ gaussian(0, t, 2, name, (r, r)) @ v.T
        theta = plus(theta, -LR * slope(theta, d, batch(t), EPS), d)
    return theta


@pytest.mark.parametrize("scale", ["code", "paper"])
def test_step(scale):
    ours, opt = run(SubZero, scale=scale, **SETTINGS)
    assert difference(ours, in_plain_torch(scale=scale)) < 1e-11
    assert difference(ours, in_plain_torch(scale="paper" if scale == "code" else "code")) > 1e-4
    assert opt.forwards == {"train": 8 * SubZero.forwards_per_step}


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(SubZero, engine=engine, **SETTINGS)[0], in_plain_torch()) < 1e-11


def test_a_scope_that_rests_takes_up_the_subspaces_of_their_time():
    ours, _ = run(SubZero, scope=Resting, **SETTINGS)
    assert difference(ours, in_plain_torch(resting=True)) < 1e-11


@pytest.mark.parametrize("interval", [1, 2, 8])
def test_the_interval_is_kept(interval):
    ours, _ = run(SubZero, rank=2, interval=interval)
    assert difference(ours, in_plain_torch(interval=interval)) < 1e-11
    assert difference(ours, in_plain_torch()) > 1e-4


def test_a_rank_above_the_sides_is_the_smaller_side():
    ours, _ = run(SubZero, rank=64, interval=3)
    assert difference(ours, in_plain_torch(rank=64)) < 1e-11


class NotOrthonormal(SubZero):
    """Gaussian factors as they are."""

    def basis(self, axis):
        rank = self.rank
        return self.noise(
            shape=lambda p: (p.shape[axis], rank), on=lambda p: p.ndim == 2, every=self.interval, label="UV"[axis]
        )


def test_wrong_factors_are_found():
    assert difference(run(NotOrthonormal, **SETTINGS)[0], in_plain_torch()) > 1e-3


def moves(shape, steps, **settings):
    """The moves of a matrix whose loss has slope 1 along every direction."""
    w = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    opt = SubZero([("w", w)], lr=1.0, engine="flat", **settings)
    out, tape = [], []

    def loss():
        tape.append(0)
        return torch.tensor(1e-3 if len(tape) % 2 else -1e-3, dtype=torch.float64)

    for _ in range(steps):
        before = w.detach().clone()
        opt.step(loss)
        out.append(w.detach() - before)
    return out


def test_a_direction_is_as_long_as_mezos():
    mean = torch.stack([d.square().sum() for d in moves((12, 20), 150, rank=4, interval=5)]).mean()
    assert float(mean) == pytest.approx(12 * 20, rel=0.12)
    short = torch.stack([d.square().sum() for d in moves((12, 20), 150, rank=4, interval=5, scale="paper")]).mean()
    assert float(short) == pytest.approx(4 * 4, rel=0.12)


def test_moves_of_an_interval_stay_in_one_subspace():
    found = moves((12, 20), 6, rank=3, interval=3)
    assert int(torch.linalg.matrix_rank(torch.cat(found[:3], 1), rtol=1e-6)) == 3
    assert int(torch.linalg.matrix_rank(torch.cat(found, 1), rtol=1e-6)) == 6


@pytest.mark.parametrize("shape", [(2, 9), (9, 2), (1, 5)])
def test_the_rank_is_at_most_the_smaller_side(shape):
    (d,) = moves(shape, 1, rank=24)
    assert int(torch.linalg.matrix_rank(d)) == min(shape) and bool(d.isfinite().all())


def test_state_is_of_low_rank():
    _, opt = run(SubZero, steps=5, **SETTINGS)
    found = opt.state_bytes() - 8 * sum(p.ndim == 2 for p in opt.handles)  # one number a matrix: s
    assert found == 8 * sum(opt.state_of(tuple(p.shape)) for p in opt.handles)
    assert opt.state_of((300, 200)) == 2 * 500 and opt.state_of((7,)) == 0


@pytest.mark.parametrize(
    ("setting", "text"), [({"interval": 0}, "at least 1"), ({"scale": "papers"}, "did you mean 'paper'")]
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        run(SubZero, steps=0, **setting)
