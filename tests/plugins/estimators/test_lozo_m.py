"""lozo_m: the algorithm against its equations in plain torch, and what the released code does instead."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, Resting, held, rests, run
from kits.reading_kit import Blocks, batch, difference, gaussian, plus, slope
from zobench_plugins.estimators.lozo import LOZO
from zobench_plugins.estimators.lozo_m import LOZOM

from zobench import ZobenchError

SETTINGS = {"rank": 2, "nu": 3, "beta": 0.7}


def in_plain_torch(steps=8, rank=2, nu=3, beta=0.7, scale="code", refresh="sound", start="zero", resting=False):
    """N <- beta N V_old^T V / n + (1 - beta) c U;  W <- W - lr N V^T / r."""
    theta = Blocks().weights()
    kept = {n: (torch.zeros(len(w), rank) if w.ndim == 2 else torch.zeros(len(w))).double() for n, w in theta.items()}
    of = dict.fromkeys(theta, torch.zeros(0))  # the V that N is of
    for t in range(steps):
        moving = [n for n in theta if not (resting and rests(n, t))]
        v = {n: held("v", t // nu, n, (theta[n].shape[1], rank)) for n in moving if theta[n].ndim == 2}

        def drawn(first, v=v, t=t, moving=moving, theta=theta):
            u = {n: gaussian(0, t, first, n, (len(theta[n]), rank)) for n in v}
            return u, {n: gaussian(0, t, first + 1, n, tuple(theta[n].shape)) for n in moving if n not in v}

        u, z = drawn(1)
        c = slope(theta, {**{n: u[n] @ v[n].T for n in v}, **z}, batch(t), EPS)
        if refresh == "as_released" and t % nu == 0:
            u, z = drawn(3)
        b = 0.0 if start == "as_released" and t == 0 else beta
        step = {}
        for n in moving:
            if n in v and of[n].numel() and not torch.equal(of[n], v[n]):
                kept[n] = kept[n] @ of[n].T @ v[n] / v[n].shape[0]
            kept[n] = b * kept[n] + (1 - b) * c * (u[n] if n in v else z[n])
            step[n] = kept[n] @ v[n].T / (rank if scale == "paper" else 1) if n in v else kept[n]
            of[n] = v.get(n, of[n])
        theta = plus(theta, -LR, step)
    return theta


@pytest.mark.parametrize("changed", [{}, {"scale": "paper"}, {"refresh": "as_released"}, {"start": "as_released"}])
def test_step(changed):
    ours, opt = run(LOZOM, **SETTINGS, **changed)
    assert difference(ours, in_plain_torch(**changed)) < 1e-11
    others = [{}, {"scale": "paper"}, {"refresh": "as_released"}, {"start": "as_released"}]
    for other in others:
        if other != changed:
            assert difference(ours, in_plain_torch(**other)) > 1e-5, other
    assert opt.forwards == {"train": 8 * LOZOM.forwards_per_step}


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(LOZOM, engine=engine, **SETTINGS)[0], in_plain_torch()) < 1e-11


def test_a_tensor_that_rested_over_a_change_of_v_is_carried_over_when_it_moves_again():
    ours, _ = run(LOZOM, scope=Resting, **SETTINGS)
    assert difference(ours, in_plain_torch(resting=True)) < 1e-11
    assert difference(ours, in_plain_torch()) > 1e-5


class NotCarried(LOZOM):
    """Keeps N in the coordinates of a V that is gone."""

    def carry(self, v):
        pass


class AlwaysCarried(LOZOM):
    """Projects at every step: V^T V / n is not exactly I."""

    def carry(self, v):
        for p, new in self.each(v):
            self.n[p] = self.n[p] @ (new.T @ new) / len(new)


@pytest.mark.parametrize("wrong", [NotCarried, AlwaysCarried])
def test_wrong_carrying_is_found(wrong):
    assert difference(run(wrong, **SETTINGS)[0], in_plain_torch()) > 1e-5


def test_without_momentum_it_is_lozo():
    settings = {"rank": 2, "nu": 3}
    assert difference(run(LOZOM, beta=0.0, **settings)[0], run(LOZO, **settings)[0]) < 1e-13


def test_state_is_of_low_rank():
    _, opt = run(LOZOM, steps=5, **SETTINGS)
    shapes = [tuple(p.shape) for p in opt.handles]
    assert opt.state_bytes() == 8 * sum(opt.state_of(s) for s in shapes)
    assert opt.state_of((300, 200)) == 2 * 500 and opt.state_of((7,)) == 7


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"beta": 1.0}, "LOZOM.beta=1.0: must be at least 0 and below 1"),
        ({"start": "zeros"}, "did you mean 'zero'"),
        ({"rank": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        run(LOZOM, steps=0, **setting)
