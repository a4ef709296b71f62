"""BSZO: its step against a filter with whole matrices in numpy, and versions that are not it."""

from __future__ import annotations

import numpy
import pytest
from kits.drawing_kit import LR, run
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, plus, slope
from zobench_plugins.estimators.bszo import BSZO

EPS = 1e-4


def bszo(steps=8, k=2, samples=3, prior=None, level=None, alpha=0.1, central=False, anew=False, once=False):
    """A Kalman filter of a k-vector seen along axes; beyond k the axis of the covariance's largest eigenvector."""
    theta = Blocks().weights()
    auto = (sum(w.numel() for w in theta.values()) / 1e6) ** 0.5
    prior, level = prior or auto, level or auto
    v = level**2
    for t in range(steps):
        zs = [draw(theta, t, number=i + 1) for i in range(k)]
        if central:
            y = [slope(theta, z, batch(t), EPS) for z in zs]
        else:
            y = [float(loss_at(plus(theta, EPS, z), batch(t)) - loss_at(theta, batch(t))) / EPS for z in zs]
        mu, covariance = numpy.zeros(k), prior**2 * numpy.eye(k)
        v = level**2 if anew else v
        for n in range(k if once else samples):
            axis = n if n < k else int(numpy.abs(numpy.linalg.eigh(covariance)[1][:, -1]).argmax())
            d = numpy.eye(k)[axis]
            residual = y[axis] - d @ mu
            v = (1 - alpha) * v + alpha * residual**2
            gain = covariance @ d / (d @ covariance @ d + max(v, (level / 10) ** 2))
            mu, covariance = mu + gain * residual, covariance - numpy.outer(gain, d @ covariance)
        for m, z in zip(mu, zs, strict=True):
            theta = plus(theta, -LR * m, z)
    return theta


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        ({}, {}),
        ({"k": 3, "samples": 5, "prior": 0.7, "noise_level": 2.0, "alpha": 0.3}, {"level": 2.0}),
        ({"looks": "two_sided", "prior": 1.0, "noise_level": 0.5}, {"level": 0.5, "central": True}),
    ],
    ids=["released", "k3", "two_sided"],
)
@pytest.mark.parametrize("engine", ["pair", "flat"])
def test_step(settings, form, engine):
    said = {key: value for key, value in settings.items() if key not in ("looks", "noise_level")}
    ours, opt = run(BSZO, engine=engine, eps=EPS, **settings)
    assert difference(ours, bszo(**said, **form)) < 1e-9
    assert difference(ours, bszo(**said, **form, anew=True)) > 1e-6, "v goes on from step to step"
    assert difference(ours, bszo(**said, **form, once=True)) > 1e-6, "an observation is counted again"
    looks = 2 * opt.k if opt.looks == "two_sided" else opt.k + 1
    assert opt.forwards == {"train": 8 * looks}
    assert opt.state_bytes() == 8


def test_directions_that_nobody_looked_along_do_not_move():
    assert difference(run(BSZO, samples=1, k=3)[0], run(BSZO, samples=1, k=1)[0]) == 0


def test_a_known_noise_draws_the_step_towards_zero():
    def moved(level):
        start, (end, _) = Blocks().weights(), run(BSZO, steps=1, samples=2, prior=1.0, noise_level=level, alpha=1e-9)
        return sum(float((end[n] - start[n]).square().sum()) for n in start) ** 0.5

    assert moved(1.0) / moved(1e-3) == pytest.approx(0.5, rel=1e-4)
    assert moved(3.0) / moved(1e-3) == pytest.approx(0.1, rel=1e-4)
