"""mezo_muon: the step against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, run
from kits.reading_kit import Blocks, batch, difference, draw, plus, slope
from zobench_plugins.estimators.mezo_muon import MeZOMuon, orthogonalised


def flattened(g):
    """Newton-Schulz by singular values: five times s <- 3.4445 s - 4.775 s^3 + 2.0315 s^5, from s / |g|."""
    u, s, vh = torch.linalg.svd(g, full_matrices=False)
    s = s / g.norm()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return max(g.shape) ** 0.5 * (u * s) @ vh


def in_plain_torch(steps=8, momentum=0.95, nesterov=True, sized=True):
    theta = Blocks().weights()
    m = {n: torch.zeros_like(w) for n, w in theta.items()}
    for t in range(steps):
        z = draw(theta, t)
        c = slope(theta, z, batch(t), EPS)
        step = {}
        for n in theta:
            g = c * z[n]
            m[n] = momentum * m[n] + g
            u = g + momentum * m[n] if nesterov else m[n]
            if u.ndim == 2:
                step[n] = flattened(u) / (1 if sized else max(u.shape) ** 0.5)
            else:
                step[n] = u / u.square().mean().sqrt()
        theta = plus(theta, -LR, step)
    return theta


@pytest.mark.parametrize("momentum", [0.95, 0.0])
def test_step(momentum):
    ours, opt = run(MeZOMuon, momentum=momentum)
    assert difference(ours, in_plain_torch(momentum=momentum)) < 1e-9
    assert opt.forwards == {"train": 16}
    for wrong in ({"nesterov": False}, {"sized": False}) if momentum else ({"momentum": 0.95}, {"sized": False}):
        assert difference(ours, in_plain_torch(**{"momentum": momentum, **wrong})) > 1e-4, wrong


def test_lengths_of_steps_are_set_and_zeros_stay():
    x = torch.randn(30, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert 0.6 < float(orthogonalised(x).square().mean().sqrt()) < 1.3
    assert float(orthogonalised(x[0]).square().mean()) == pytest.approx(1.0)
    assert not orthogonalised(torch.zeros(4, 3)).any() and not orthogonalised(torch.zeros(4)).any()
    assert torch.equal(orthogonalised(x.view(2, 15, 50))[1], orthogonalised(x[15:]))
