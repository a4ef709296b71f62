"""p_gap: the algorithm against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import math

import pytest
import torch
from kits.drawing_kit import EPS, LR, rademacher, run
from kits.reading_kit import Blocks, batch, difference, draw, gaussian, objective, plus, slope
from zobench_plugins.estimators.p_gap import PGAP

from zobench.plugins.registry import load_plugins

SETTINGS = {"rank": 3, "interval": 3, "probes": 2, "decay": 20}


def further(model, k):
    return objective(model, k, iter([batch(900 + k)]))


def in_plain_torch(steps=8, delta=2.0, decay=20, aligned=True, held=True, root=True):
    theta, found = Blocks().weights(), {}
    for t in range(steps):
        count = 0
        if t % (3 if held else 1) == 0:
            count, g = 2, {n: 0.0 for n in theta}
            for i in range(2):
                z = draw(theta, t, i + 1)
                c = slope(theta, z, batch(900 + t), EPS)
                g = {n: g[n] + c / 2 * z[n] for n in g}
            found = {n: torch.linalg.svd(x, full_matrices=False) for n, x in g.items() if x.ndim == 2}
        d = {n: gaussian(0, t, count + 3, n, tuple(w.shape)) for n, w in theta.items() if w.ndim != 2}
        left = delta * (1 - t / decay)
        for n, (u, s, vh) in found.items():
            z = gaussian(0, t, count + 1, n, (3, 3))
            s = torch.diag(s[:3])
            xi = float(rademacher(t, count + 2, n, (1, 1)))
            part = float((s * z).sum()) - xi * (math.sqrt(left) if root else left) * float(s.norm())
            z = z - aligned * part / float(s.norm()) ** 2 * s
            d[n] = u[:, :3] @ z @ vh[:3]
        theta = plus(theta, -LR * slope(theta, d, batch(t), EPS), d)
    return theta


@pytest.mark.parametrize("engine", ["pair", "flat"])
def test_step(engine):
    ours, opt = run(PGAP, make=further, engine=engine, **SETTINGS)
    assert difference(ours, in_plain_torch()) < 1e-8
    assert opt.forwards == {"train": 16, "extra": 3 * 4}
    for wrong in ({"aligned": False}, {"root": False}, {"decay": 10**9}, {"delta": 0.0}):
        assert difference(ours, in_plain_torch(**wrong)) > 1e-4
    assert math.isclose(PGAP.extra_forwards_per_step, 2 * PGAP.probes / PGAP.interval)


def test_a_direction_has_the_set_part_along_the_estimate():
    _, opt = run(PGAP, steps=1, make=further, **SETTINGS)
    seen = []
    opt._keep(looked=seen.append)
    opt.step(further(Blocks(), 1))
    p = next(p for p in opt.handles if p.name == "layers.0.w")
    d = seen[0].on(p) / EPS
    u, s, v = (opt.buffers[f"directions.{name}"][p] for name in "usv")
    g = u @ s @ v.T
    assert abs(float((g * d).sum())) == pytest.approx(math.sqrt(2 * (1 - 1 / 20)) * float(g.norm()))


def test_it_is_mezo_along_its_directions():
    along = load_plugins(only="").estimator("mezo:p_gap")
    settings = {f"directions.{name}": value for name, value in SETTINGS.items()}
    assert difference(run(PGAP, make=further, **SETTINGS)[0], run(along, make=further, **settings)[0]) == 0


def test_directions_of_one_step_share_what_was_looked_for():
    along = load_plugins(only="").estimator("n_spsa:p_gap")
    _, opt = run(along, steps=4, make=further, q=3, **{f"directions.{name}": value for name, value in SETTINGS.items()})
    assert opt.forwards == {"train": 4 * 6, "extra": 2 * 4}
