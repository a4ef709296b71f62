"""zo_muon: the algorithm against its equations in plain torch, its ablations, and what the release does instead."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, Resting, held, rests, run
from kits.reading_kit import Blocks, batch, difference, gaussian, loss_at, plus
from torch import nn
from zobench_plugins.estimators.zo_muon import ZOMuon, matrix_sign, newton_schulz

from zobench import ZobenchError

SETTINGS = {"queries": 3, "rank": 2, "interval": 3, "vector_lr": 1e-3}
UPDATES = ("muon", "svd", "norm", "sgd")
LR = 1e-2


def spectral(g, update):
    """What becomes of G, by its singular values: another way than the product's iterations."""
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    if update == "muon":
        s = s / g.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    elif update == "svd":
        s = torch.ones_like(s)
    elif update == "norm":
        s = s / g.norm() * len(s) ** 0.5
    return u @ torch.diag(s) @ vh


def in_plain_torch(steps=8, queries=3, rank=2, interval=3, vector_lr=1e-3, update="muon", refresh="sound", rest=False):
    """W <- W - lr P f(G), G = sum_i c_i U_i / n, c_i one-sided; other tensors by vector_lr times the mean c_i z_i."""
    theta = Blocks().weights()
    for t in range(steps):
        mats = [n for n, w in theta.items() if w.ndim == 2 and not (rest and rests(n, t))]
        vectors = [n for n, w in theta.items() if w.ndim == 1 and not (rest and rests(n, t))]
        rows = {n: len(theta[n]) for n in mats}
        p = {n: torch.linalg.qr(held("P", t // interval, n, (rows[n], rank))).Q for n in mats}
        base, cs, us, zs = loss_at(theta, batch(t)), [], [], []
        for i in range(queries):
            zs.append({n: gaussian(0, t, 2 * i + 1, n, tuple(theta[n].shape)) for n in vectors})
            us.append({n: gaussian(0, t, 2 * i + 2, n, (rank, theta[n].shape[1])) for n in mats})
        for i in range(queries):
            own = p
            if refresh == "as_released" and t % interval == 0 and i < queries - 1:
                number = 2 * queries + 1 + i
                own = {n: torch.linalg.qr(gaussian(0, t, number, n, (rows[n], rank))).Q for n in mats}
            d = {**{n: own[n] @ us[i][n] for n in mats}, **zs[i]}
            cs.append(float(loss_at(plus(theta, EPS, d), batch(t)) - base) / EPS)
        mean = {n: sum(c * u[n] for c, u in zip(cs, us, strict=True)) / queries for n in mats}
        step = {n: LR * p[n] @ spectral(mean[n], update) for n in mats}
        other = {n: vector_lr * sum(c * z[n] for c, z in zip(cs, zs, strict=True)) / queries for n in vectors}
        theta = plus(theta, -1.0, {**step, **other})
    return theta


@pytest.mark.parametrize("update", UPDATES)
def test_step(update):
    ours, opt = run(ZOMuon, update=update, lr=LR, **SETTINGS)
    assert difference(ours, in_plain_torch(update=update)) < 1e-9
    for other in UPDATES:
        if other != update:
            assert difference(ours, in_plain_torch(update=other)) > 1e-4, other
    assert opt.forwards == {"train": 8 * 4}


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(ZOMuon, engine=engine, lr=LR, **SETTINGS)[0], in_plain_torch()) < 1e-9


def test_the_released_refresh_moves_with_a_p_that_few_looks_had():
    ours, _ = run(ZOMuon, refresh="as_released", lr=LR, **SETTINGS)
    assert difference(ours, in_plain_torch(refresh="as_released")) < 1e-9
    assert difference(ours, in_plain_torch()) > 1e-4


def test_a_scope_that_rests():
    ours, _ = run(ZOMuon, scope=Resting, lr=LR, **SETTINGS)
    assert difference(ours, in_plain_torch(rest=True)) < 1e-9


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (6, 6)])
def test_newton_schulz_is_about_the_matrix_sign(shape):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(newton_schulz(g))
    assert 0.6 < float(values.min()) and float(values.max()) < 1.25
    assert float((newton_schulz(g) - newton_schulz(1e6 * g)).abs().max()) < 1e-12, "no matter how large"
    exact = matrix_sign(g)
    assert torch.allclose(torch.linalg.svdvals(exact), torch.ones(min(shape), dtype=torch.float64))
    assert float((newton_schulz(g) * exact).sum() / newton_schulz(g).norm() / exact.norm()) > 0.98


def moved(update, losses=None, rank=4, shape=(12, 20)):
    w = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    opt = ZOMuon([("w", w)], lr=1.0, update=update, rank=rank)
    made = torch.arange(100.0, dtype=torch.float64)
    tape = iter(made if losses is None else losses)
    opt.step(lambda: next(tape))
    return w.detach()


def test_the_control_is_as_long_as_the_orthogonalised_step_and_points_elsewhere():
    norm, svd, muon, sgd = (moved(u) for u in ("norm", "svd", "muon", "sgd"))
    assert float(norm.norm()) == pytest.approx(2.0) and float(svd.norm()) == pytest.approx(2.0)
    assert 1.4 < float(muon.norm()) < 2.5
    assert torch.allclose(norm / norm.norm(), sgd / sgd.norm()), "the direction of G itself"
    assert not torch.allclose(norm, svd, atol=1e-2)


@pytest.mark.parametrize("update", UPDATES)
def test_where_all_losses_are_equal_it_stays(update):
    assert torch.equal(moved(update, [torch.tensor(0.7, dtype=torch.float64)] * 5), torch.zeros(12, 20).double())


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (1, 4)])
def test_the_rank_is_at_most_the_rows(shape):
    assert bool(moved("muon", rank=64, shape=shape).isfinite().all())


def test_state_is_of_low_rank():
    _, opt = run(ZOMuon, steps=5, **SETTINGS)
    assert opt.state_bytes() == 8 * sum(opt.state_of(tuple(p.shape)) for p in opt.handles)
    assert opt.state_of((300, 200)) == 2 * 300 and opt.state_of((7,)) == 0


def test_forwards_are_those_of_the_card():
    assert run(ZOMuon, steps=2)[1].forwards == {"train": 2 * ZOMuon.forwards_per_step}


@pytest.mark.parametrize(
    ("setting", "text"), [({"update": "nrom"}, "did you mean 'norm'"), ({"queries": 0}, "at least 1")]
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        run(ZOMuon, steps=0, **setting)
