"""hizoo_l: the algorithm against its equations in plain torch, and where it meets hizoo and mezo."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, run
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.hizoo import HiZOO
from zobench_plugins.estimators.hizoo_l import HiZOOL
from zobench_plugins.estimators.mezo import MeZO

from zobench import ZobenchError

ALPHA = 1e-2


def in_plain_torch(steps=8, alpha=ALPHA, moved_with="new"):
    """H = R C^T / mean(R) on matrices, whole elsewhere; looks with the old H, the move with the new one."""
    theta = Blocks().weights()
    whole = {n: torch.ones_like(w) for n, w in theta.items() if w.ndim == 1}
    rows = {n: torch.ones(len(w)).double() for n, w in theta.items() if w.ndim == 2}
    columns = {n: torch.ones(w.shape[1]).double() for n, w in theta.items() if w.ndim == 2}

    def curvatures():
        return {**whole, **{n: torch.outer(rows[n], columns[n]) / rows[n].mean() for n in rows}}

    for t in range(steps):
        z, h = draw(theta, t), curvatures()
        d = {n: z[n] / h[n].sqrt() for n in z}
        c = slope(theta, d, batch(t), EPS)
        ahead, back = (loss_at(plus(theta, e, d), batch(t)) for e in (EPS, -EPS))
        second = abs(float(ahead + back - 2 * loss_at(theta, batch(t)))) / (2 * EPS**2)
        for n in theta:
            new = second * h[n] * z[n] ** 2
            if n in whole:
                whole[n] = (1 - alpha) * whole[n] + alpha * new
            else:
                rows[n] = (1 - alpha) * rows[n] + alpha * new.mean(1)
                columns[n] = (1 - alpha) * columns[n] + alpha * new.mean(0)
        if moved_with == "new":
            d = {n: z[n] / h.sqrt() for n, h in curvatures().items()}
        theta = plus(theta, -LR * c, d)
    return theta


@pytest.mark.parametrize("engine", ["pair", "flat", "official", "deferred"])
def test_step(engine):
    ours, opt = run(HiZOOL, alpha=ALPHA, engine=engine)
    assert difference(ours, in_plain_torch()) < 1e-8  # a second difference of losses, over eps squared
    assert difference(ours, in_plain_torch(moved_with="old")) > 1e-6
    assert difference(ours, run(HiZOO, alpha=ALPHA)[0]) > 1e-6, "on matrices it is another H"
    assert opt.forwards == {"train": 8 * HiZOOL.forwards_per_step}


@pytest.mark.parametrize("engine", ["pair", "flat", "deferred"])
def test_without_curvature_it_is_mezo_bit_for_bit(engine):
    assert difference(run(HiZOOL, alpha=0.0, engine=engine)[0], run(MeZO, engine=engine)[0]) == 0


def test_on_vectors_it_is_hizoo():
    def moved(cls):
        w = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
        opt = cls([("w", w)], lr=1e-2, alpha=0.1)
        for _ in range(5):
            opt.step(lambda: w.detach().pow(4).sum())
        return w.detach()

    assert torch.equal(moved(HiZOOL), moved(HiZOO))


def test_rows_and_columns_average_the_same_curvature():
    """The mean over rows of R and over columns of C is the mean of all h, so that H keeps it."""
    _, opt = run(HiZOOL, alpha=0.3)
    for p in opt.handles:
        if p.ndim == 2:
            assert float(opt.row[p].mean()) == pytest.approx(float(opt.column[p].mean()), rel=1e-12)
            assert opt.row[p].shape == (p.shape[0], 1) and opt.column[p].shape == (p.shape[1], 1)
            assert float(opt.row[p].mean()) != 1.0


def test_a_diagonal_curvature_of_rank_one_is_found():
    """Rows of a quadratic with curvatures of 1 and 100: R tells them apart."""
    scale = torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    w = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    opt = HiZOOL([("w", w)], lr=0.0, alpha=5e-3)
    for _ in range(300):
        opt.step(lambda: 0.5 * (scale * w.detach().square()).sum())
    low, high = opt.row[opt.handles[0]].flatten().tolist()
    assert high / low > 3


def test_state_is_rows_and_columns_in_float32():
    w = nn.Parameter(torch.randn(64, 48).to(torch.bfloat16))
    opt = HiZOOL([("w", w)], lr=1e-6)  # the README's alpha, 1e-8
    opt.step(lambda: w.detach().float().square().sum())
    assert opt.state_bytes() == 4 * (64 + 48) == 4 * opt.state_of((64, 48))
    row = opt.state_dict()["buffers"]["row"]["w"]
    assert row.dtype == torch.float32 and bool((row != 1).any())


def test_wrong_settings_are_named():
    with pytest.raises(ZobenchError, match="HiZOOL.alpha=-1: must be at least 0"):
        run(HiZOOL, steps=0, make=objective, alpha=-1)
