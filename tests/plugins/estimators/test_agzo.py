"""agzo: the algorithm against its equations in plain torch, on layers whose inputs are computed by hand."""

from __future__ import annotations

import pytest
import torch
from kits.reading_kit import difference, gaussian, plus
from torch import nn
from zobench_plugins.estimators.agzo import AGZO

from zobench import Objective, Scope, ZobenchError
from zobench.testing import mlp

LR, EPS, STEPS = 1e-2, 1e-4, 5
LAYERS = [f"layers.{i}.0" for i in range(3)]


def run(cls=AGZO, engine="pair", steps=STEPS, problem=None, **settings):
    problem = problem or mlp()
    opt = cls(Scope(problem.named()), lr=LR, engine=engine, **settings)
    for t in range(steps):
        opt.step(problem.objective(t))
    opt.settle()
    return problem.weights(), opt


def forward(theta, x):
    """The MLP by hand: what enters each layer, and the logits."""
    inputs = {}
    for name in LAYERS:
        inputs[f"{name}.weight"] = x
        x = x @ theta[f"{name}.weight"].T + theta[f"{name}.bias"]
        x = x if name == LAYERS[-1] else torch.tanh(x)
    return inputs, x


def loss_at(theta, b):
    logits = forward(theta, b[0])[1]
    return (logits.logsumexp(1) - logits[torch.arange(len(b[1])), b[1]]).mean()


def in_plain_torch(rank=1, iterations=3, looks="one_sided", stale=False):
    """c = [L(theta + eps d) - L(theta)] / eps, d = R A^T, A <- QR(H H^T A); W <- W - lr c d."""
    problem = mlp()
    theta, before = problem.weights(), None
    for t in range(STEPS):
        b = problem.batch(t)
        seen, d = forward(theta, b[0])[0], {}
        inputs, before = (before or seen, seen) if stale else (seen, seen)
        for n, w in theta.items():
            if n not in inputs:
                d[n] = gaussian(0, t, 3, n, tuple(w.shape))
                continue
            h, r = inputs[n].T, min(rank, w.shape[1])
            a = gaussian(0, t, 1, n, (w.shape[1], r))
            for _ in range(iterations):
                a = torch.linalg.qr(h @ h.T @ a).Q
            d[n] = gaussian(0, t, 2, n, (w.shape[0], r)) @ a.T
        ahead = loss_at(plus(theta, EPS, d), b)
        if looks == "one_sided":
            c = float(ahead - loss_at(theta, b)) / EPS
        else:
            c = float(ahead - loss_at(plus(theta, -EPS, d), b)) / (2 * EPS)
        theta = plus(theta, -LR * c, d)
    return theta


@pytest.mark.parametrize("settings", [{}, {"rank": 4}, {"iterations": 1}, {"looks": "two_sided"}])
def test_step(settings):
    ours, opt = run(**settings)
    assert difference(ours, in_plain_torch(**settings)) < 1e-9  # a one-sided difference of losses, over eps
    if settings:
        assert difference(ours, in_plain_torch()) > 1e-6
    sides = 3 if settings.get("looks") == "two_sided" else AGZO.forwards_per_step
    assert opt.forwards == {"train": STEPS * sides} and opt.state_bytes() == 0


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(engine=engine)[0], in_plain_torch()) < 1e-9


def test_directions_of_the_batch_before_are_found():
    assert difference(run()[0], in_plain_torch(stale=True)) > 1e-6


def test_a_is_the_leading_directions_of_what_enters_a_layer():
    x = torch.randn(40, 12, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 3, 12)
    layer = nn.Linear(12, 4)
    opt = AGZO([("weight", layer.weight)], lr=1.0, rank=3, iterations=200)
    before = layer.weight.detach().clone()
    opt.step(Objective(layer, lambda f, b: f(b).square().mean(), x))
    rows = torch.linalg.svd(layer.weight.detach() - before).Vh[:3].double()
    leading = torch.linalg.eigh(x.double().T @ x.double()).eigenvectors[:, -3:]
    assert float((rows @ leading).square().sum()) == pytest.approx(3, abs=1e-3)


def test_to_inputs_along_a_a_direction_does_what_mezos_does():
    """R A^T x and Z x have one length for x along A, while the entries of R A^T are sqrt(r / n) as large."""
    x = torch.ones(1, 400, dtype=torch.float64) / 20 + 0.0
    layer = nn.Linear(400, 300, bias=False).double()
    opt = AGZO([("weight", layer.weight)], lr=1.0)
    before = layer.weight.detach().clone()
    opt.step(Objective(layer, lambda f, b: f(b).sum(), x))
    d = layer.weight.detach() - before
    d = d / d.norm() * 300**0.5  # R A^T is that long
    assert float((d @ x[0]).norm()) == pytest.approx(300**0.5, rel=0.05)
    assert float(d.square().mean().sqrt()) == pytest.approx(1 / 20, rel=0.05)


@pytest.mark.parametrize("rows", [1, 3])
def test_fewer_inputs_than_columns_and_inputs_of_zeros(rows):
    for x in (torch.randn(rows, 6), torch.zeros(rows, 6)):
        layer = nn.Linear(6, 4)
        opt = AGZO(layer.named_parameters(), lr=1e-3, rank=5)
        opt.step(Objective(layer, lambda f, b: f(b).square().mean(), x))
        assert all(bool(p.isfinite().all()) for p in layer.parameters())


def test_in_float16_a_small_eps_does_not_overflow():
    layer = nn.Linear(4, 2, bias=False).half()
    seen = iter(torch.tensor([6.0, 6.0078], dtype=torch.float16))
    opt = AGZO(layer.named_parameters(), lr=1e-9, eps=1e-7)
    opt.step(Objective(layer, lambda f, b: (f(b), next(seen))[1], torch.ones(3, 4, dtype=torch.float16)))
    assert bool(layer.weight.isfinite().all())


def test_it_says_what_it_cannot_do():
    _, opt = run()
    with pytest.raises(ZobenchError, match="saw more than scalars"):
        AGZO(Scope(mlp().named()), lr=LR).replay(opt.log)
    with pytest.raises(TypeError, match=r"AGZO needs objective.with_inputs\(...\), which a plain closure has not"):
        opt.step(lambda: torch.tensor(1.0))
    with pytest.raises(ZobenchError, match="did you mean 'two_sided'"):
        run(looks="two_side")
