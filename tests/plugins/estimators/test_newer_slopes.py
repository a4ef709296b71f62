"""zo_adamu, curvzo: each step against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import math

import pytest
import torch
from kits.drawing_kit import EPS, LR, run
from kits.reading_kit import Blocks, batch, blake, difference, draw, gaussian, plus, slope
from zobench_plugins.estimators.curvzo import CurvZO, inclusion
from zobench_plugins.estimators.zo_adamu import ZOAdaMU

# ---- ZO-AdaMU


def adamu(steps=8, warmup=2, annealed=6, remembered=True, squared=False, deviation=True):
    theta = Blocks().weights()
    m = {n: torch.zeros_like(w) for n, w in theta.items()}
    for t in range(steps):
        done = min(max((t - warmup) / (annealed - warmup), 0), 1)
        alpha, beta1, beta2 = (
            1.0 if t < warmup else last + (1 - last) * (1 + math.cos(math.pi * done)) / 2 for last in (0.5, 0.9, 0.01)
        )
        power = 0.5 if deviation else 1.0
        a = {n: alpha**power * z for n, z in draw(theta, t, 1).items()}
        b = {n: m[n] * remembered + (1 - alpha) ** power * z for n, z in draw(theta, t, 2).items()}
        m = {n: beta1 * a[n] + (1 - beta1) * b[n] for n in a}
        v = {n: beta2 * a[n] ** 2 + (1 - beta2) * b[n] ** 2 for n in a}
        c = slope(theta, m, batch(t), EPS)
        theta = plus(theta, -LR * c, {n: m[n] / ((v[n] ** 2 if squared else v[n]) + 1e-8).sqrt() for n in m})
    return theta


def test_adamu_step():
    ours, _ = run(ZOAdaMU, warmup=2, annealed=6)
    assert difference(ours, adamu()) < 1e-9
    wrongs = [{"remembered": False}, {"squared": True}, {"deviation": False}, {"warmup": 3}, {"annealed": 8}]
    assert all(difference(ours, adamu(**wrong)) > 1e-4 for wrong in wrongs)


def test_adamu_moves_along_signs_while_it_warms_up():
    ours, _ = run(ZOAdaMU, steps=1)
    z = draw(Blocks().weights(), 0, 1)
    c = slope(Blocks().weights(), z, batch(0), EPS)
    signs = {n: x / (x**2 + 1e-8).sqrt() for n, x in z.items()}
    assert difference(ours, plus(Blocks().weights(), -LR * c, signs)) < 1e-12


# ---- CurvZO


def curvzo(steps=12, share=0.4, follow=0.1, every=3, weighted=True, energies=True, adapted=True):
    theta = Blocks().weights()
    names, n = list(theta), len(theta)
    score, g = dict.fromkeys(names, 0.01), 1e-8
    for t in range(steps):
        s = torch.tensor([score[x] for x in names]).double()
        count = max(1, min(n, int(n * share + 1e-9)))
        p = s / s.sum()
        low, high = 0.0, float(1 / p.max())
        for _ in range(40):
            mid = (low + high) / 2
            low, high = (low, mid) if float(torch.clamp(mid * p, max=1).sum()) > count else (mid, high)
        pi = torch.clamp(low * p, max=1)
        dice = torch.rand(
            n, generator=torch.Generator().manual_seed(blake(0, "choice", "tensors", t)), dtype=torch.float64
        )
        on = [i for i in range(n) if dice[i] < pi[i]] or [int(pi.argmax())]
        z = {names[i]: gaussian(0, t, 1, names[i], tuple(theta[names[i]].shape)) for i in on}
        c = slope(theta, z, batch(t), EPS)
        over = {names[i]: 1 / float(pi[i]) if weighted else 1.0 for i in on}
        theta = plus(theta, -LR * c, {x: over[x] * z[x] for x in z})
        g = (1 - follow) * g + follow * abs(c)
        e = {x: float((z[x] / float(pi[names.index(x)])).square().sum()) if energies else 1.0 for x in z}
        for x in z:
            score[x] = (1 - follow) * score[x] + follow * abs(c) / g * e[x] / sum(e.values())
        if adapted and t % every == 0:
            w = torch.tensor([score[x] for x in names]).double()
            q = w / w.sum()
            effective = float(w.sqrt().sum() ** 2 / w.sum())
            entropy = -float((q * q.log()).sum()) / math.log(n)
            raw = 0.1 + 0.7 * (0.7 * effective / n + 0.3 * (1 - entropy))
            share = min(max(0.9 * share + 0.1 * raw, 0.1), 0.8)
    return theta


def test_curvzo_step():
    ours, opt = run(CurvZO, steps=12, every=3)
    assert difference(ours, curvzo()) < 1e-7
    assert opt.forwards == {"train": 24}
    wrongs = [{"weighted": False}, {"energies": False}, {"share": 0.8}, {"follow": 0.3}]
    assert all(difference(ours, curvzo(**wrong)) > 1e-4 for wrong in wrongs)
    assert difference(run(CurvZO, steps=30, every=1, share=0.8)[0], curvzo(30, 0.8, every=1)) < 1e-7
    assert difference(run(CurvZO, steps=30, every=1, share=0.8)[0], curvzo(30, 0.8, adapted=False)) > 1e-4


def test_chances_sum_to_what_is_drawn_and_follow_the_scores():
    s = torch.tensor([1.0, 2.0, 3.0, 50.0]).double()
    assert float(inclusion(s, 1).sum()) == pytest.approx(1)
    assert (inclusion(s, 1) / s).std() == pytest.approx(0)
    assert float(inclusion(torch.ones(5), 2).sum()) == pytest.approx(2)
    assert float(inclusion(s, 3).max()) <= 1
