"""subzero_plus: the algorithm against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, held, run
from kits.reading_kit import Blocks, batch, difference, gaussian, loss_at, plus
from zobench_plugins.estimators.subzero_plus import SubZeroPlus, haar

SETTINGS = {"rank": 3, "interval": 3, "queries": 2}


def basis(label, epoch, name, side, rank, signs):
    q, r = torch.linalg.qr(held(label, epoch, name, (side, rank)))
    return q * r.diagonal().sign() if signs else q


def in_plain_torch(
    steps=8, rank=3, interval=3, queries=2, update="adam", corrected=True, kept=True, central=False, signs=True
):
    """corrected: Adam's bias corrections. kept: moments outlive a subspace. central: two-sided looks."""
    theta = Blocks().weights()
    m = {n: torch.zeros(rank, rank).double() if w.ndim == 2 else torch.zeros_like(w) for n, w in theta.items()}
    s = {n: x.clone() for n, x in m.items()}
    for t in range(steps):
        us = {
            n: [basis(side, t // interval, n, k, rank, signs) for side, k in zip("UV", w.shape, strict=True)]
            for n, w in theta.items()
            if w.ndim == 2
        }

        def lift(x, us=us):
            return {n: us[n][0] @ x[n] @ us[n][1].T if n in us else x[n] for n in x}

        if not kept and t % interval == 0:
            m, s = ({n: torch.zeros_like(x) for n, x in y.items()} for y in (m, s))
        g = {n: torch.zeros_like(x) for n, x in m.items()}
        for k in range(queries):
            z = {
                n: gaussian(0, t, 2 * k + (1 if n in us else 2), n, (rank, rank) if n in us else tuple(w.shape))
                for n, w in theta.items()
            }
            up = loss_at(plus(theta, EPS, lift(z)), batch(t))
            base = loss_at(plus(theta, -EPS, lift(z)) if central else theta, batch(t))
            rho = float(up - base) / (2 * EPS if central else EPS)
            g = {n: g[n] + rho / queries * z[n] for n in g}
        step = g
        if update == "adam":
            m = {n: 0.9 * m[n] + 0.1 * g[n] for n in g}
            s = {n: 0.95 * s[n] + 0.05 * g[n] ** 2 for n in g}
            b1, b2 = (1 - 0.9 ** (t + 1), 1 - 0.95 ** (t + 1)) if corrected else (1.0, 1.0)
            step = {n: m[n] / b1 / ((s[n] / b2).sqrt() + 1e-8) for n in g}
        theta = plus(theta, -LR, lift(step))
    return theta


@pytest.mark.parametrize("update", ["adam", "sgd"])
@pytest.mark.parametrize("engine", ["pair", "flat"])
def test_step(update, engine):
    ours, opt = run(SubZeroPlus, update=update, engine=engine, **SETTINGS)
    assert difference(ours, in_plain_torch(update=update)) < 1e-8
    assert opt.forwards == {"train": 8 * 3}
    assert difference(ours, in_plain_torch(update=update, central=True)) > 1e-6


@pytest.mark.parametrize("wrong", [{"corrected": False}, {"kept": False}, {"interval": 8}, {"signs": False}])
def test_without_one_of_its_parts_it_goes_elsewhere(wrong):
    assert difference(run(SubZeroPlus, **SETTINGS)[0], in_plain_torch(**wrong)) > 1e-4


def test_signs_make_the_factor_that_of_a_positive_diagonal():
    x = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = haar(x)
    r = q.mT @ x
    assert bool((r.diagonal(dim1=1, dim2=2) > 0).all()) and float(r.tril(-1).abs().max()) < 1e-12
    assert float((q.mT @ q - torch.eye(3)).abs().max()) < 1e-12


def test_moments_are_of_the_coordinates():
    _, opt = run(SubZeroPlus, steps=1, **SETTINGS)
    kept = sum(2 * (9 if p.ndim == 2 else p.shape.numel()) + 1 for p in opt.handles)
    factors = sum(3 * sum(p.shape) for p in opt.handles if p.ndim == 2)
    assert opt.state_bytes() in (8 * kept, 8 * (kept + factors))


def test_without_adam_nothing_is_kept_but_the_subspace():
    adam, sgd = (SubZeroPlus(Blocks().named_parameters(), lr=LR, update=one, **SETTINGS) for one in ("adam", "sgd"))
    assert (adam.state_of((7,)), sgd.state_of((7,))) == (14, 0)
    for shape in ((4, 5), (2, 9)):
        assert adam.state_of(shape) - sgd.state_of(shape) == 2 * min(3, *shape) ** 2
        assert sgd.state_of(shape) == min(3, *shape) * sum(shape), "U and V"
