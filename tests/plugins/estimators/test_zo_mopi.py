"""zo_mopi: the algorithm against its equations in plain torch, over refreshes, and versions that are not it."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, held, run
from kits.reading_kit import Blocks, batch, difference, gaussian, loss_at, plus, slope
from zobench_plugins.estimators.zo_mopi import ZOMOPI, leading

SETTINGS = {"queries": 3, "rank": 3, "k": 2, "interval": 3, "vector_lr": 1e-3}
LR = 1e-2


def mopi(steps=8, beta=0.9, looks="one_sided", carry="projected", warm=True, whole=False, n=3, rank=3, k=2, interval=3):
    """W <- W - lr P U V^T. warm=False: V anew at every step. whole: all singular values equally long, by an SVD."""
    theta, m, p, v = Blocks().weights(), {}, {}, {}
    mats = [name for name, w in theta.items() if w.ndim == 2]
    for t in range(steps):
        if t % interval == 0:
            for name in mats:
                new = torch.linalg.qr(held("P", t // interval, name, (theta[name].shape[0], rank))).Q
                if name in p and carry == "projected":
                    m[name] = new.T @ p[name] @ m[name]
                p[name] = new
        for name in mats:
            if t % interval == 0 or not warm:
                v[name] = torch.linalg.qr(held("V", t // interval, name, (theta[name].shape[1], k))).Q
        cs, us = [], []
        for i in range(n):
            number = {name: 2 * i + 2 if name in mats else 2 * i + 1 for name in theta}
            shape = {name: (rank, w.shape[1]) if name in mats else tuple(w.shape) for name, w in theta.items()}
            us.append({name: gaussian(0, t, number[name], name, shape[name]) for name in theta})
            d = {name: p[name] @ u if name in mats else u for name, u in us[-1].items()}
            if looks == "one_sided":
                cs.append(float(loss_at(plus(theta, EPS, d), batch(t)) - loss_at(theta, batch(t))) / EPS)
            else:
                cs.append(slope(theta, d, batch(t), EPS))
        step = {}
        for name in theta:
            g = sum(c * u[name] for c, u in zip(cs, us, strict=True)) / n
            m[name] = beta * m[name] + (1 - beta) * g if name in m else g
            if name not in mats:
                step[name] = 1e-3 * m[name]
                continue
            v[name] = torch.linalg.qr(m[name].T @ m[name] @ v[name]).Q
            u = m[name] @ v[name]
            o = torch.stack([u[:, j] / u[:, j].norm() for j in range(k)], 1) @ v[name].T
            left, _, right = torch.linalg.svd(m[name], full_matrices=False)
            step[name] = LR * p[name] @ (left @ right if whole else o)
        theta = plus(theta, -1.0, step)
    return theta


@pytest.mark.parametrize(
    "form", [{}, {"looks": "two_sided", "beta": 0.5}, {"beta": 0.0, "carry": "as_released"}, {"carry": "as_released"}]
)
@pytest.mark.parametrize("engine", ["pair", "deferred"])
def test_step(form, engine):
    ours, opt = run(ZOMOPI, engine=engine, lr=LR, **SETTINGS, **form)
    assert difference(ours, mopi(**form)) < 1e-8
    assert difference(ours, mopi(**form, warm=False)) > 1e-4, "V goes on from the step before"
    assert difference(ours, mopi(**form, whole=True)) > 1e-4, "of k directions, not of all"
    assert difference(ours, mopi(**{**form, "beta": 0.3})) > 1e-4
    if form.get("beta", 0.9):
        other = {"projected": "as_released", "as_released": "projected"}[form.get("carry", "projected")]
        assert difference(ours, mopi(**{**form, "carry": other})) > 1e-4
    assert opt.forwards == {"train": 8 * (6 if "looks" in form else 4)}
    assert opt.state_bytes() == 8 * sum(opt.state_of(tuple(p.shape)) for p in opt.handles)


def test_a_power_step_finds_what_stands_out_and_keeps_k_directions():
    g = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 6, generator=g, dtype=torch.float64)).Q for n in (6, 20))
    m = left @ torch.diag(torch.tensor([9.0, 8.0, 1e-3, 1e-3, 1e-4, 1e-5], dtype=torch.float64)) @ right.T
    v = torch.linalg.qr(torch.randn(20, 2, generator=g, dtype=torch.float64)).Q
    for _ in range(3):
        v, o = leading(m, v)
    assert float((o - left[:, :2] @ right[:, :2].T).abs().max()) < 0.2
    assert float(o.norm()) == pytest.approx(2**0.5, rel=1e-6) and float(leading(0 * m, v)[1].norm()) == 0
