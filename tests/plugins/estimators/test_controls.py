"""n_spsa, mezo_normalized and sgd: controls and a reference, each against its equation in plain torch."""

from __future__ import annotations

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.mezo_normalized import MeZONormalized
from zobench_plugins.estimators.n_spsa import NSPSA
from zobench_plugins.estimators.sgd import SGD

from zobench import Scope, ZobenchError
from zobench.testing import Moments
from zobench.testing.moments import check_moments

LR, EPS, STEPS = 1e-2, 1e-3, 6
ENGINES = ("flat", "pair", "deferred", "official")


def run(cls, steps=STEPS, engine="pair", masks=None, lr=LR, **settings):
    """The weights before each step and after the last."""
    model = Blocks()
    opt = cls(Scope(model.named_parameters(), masks=masks), lr=lr, engine=engine, **settings)
    path = [model.weights()]
    for k in range(steps):
        opt.step(objective(model, k))
        opt.settle()
        path.append(model.weights())
    return path


def averaged(theta, t, q):
    """The estimate g of n-SPSA at a step."""
    g = {n: torch.zeros_like(w) for n, w in theta.items()}
    for i in range(q):
        z = draw(theta, t, i + 1)
        g = plus(g, slope(theta, z, batch(t), EPS) / q, z)
    return g


def half(weights):
    g = torch.Generator().manual_seed(1)
    return {n: torch.rand(w.shape, generator=g) < 0.5 for n, w in weights.items()}


# ---- n_spsa


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("q", [1, 2, 5])
def test_n_spsa_step(engine, q):
    theta = Blocks().weights()
    for t in range(STEPS):
        theta = plus(theta, -LR, averaged(theta, t, q))
    assert difference(run(NSPSA, engine=engine, q=q)[-1], theta) < 1e-11


class Summed(NSPSA):
    """Forgets the 1/q."""

    def estimate(self, losses):
        g, shown = super().estimate(losses)
        return g * self.q, shown


class OneDirection(NSPSA):
    """Draws all directions from one seed, so that q looks see what one sees."""

    def setup(self):
        super().setup()
        noise = self.noise

        def again(*args, **kwargs):
            vars(self)["_drawn"] = 0
            return noise(*args, **kwargs)

        vars(self)["noise"] = again


@pytest.mark.parametrize("wrong", [Summed, OneDirection])
def test_wrong_averages_are_found(wrong):
    assert difference(run(wrong, q=3)[-1], run(NSPSA, q=3)[-1]) > 1e-3


@pytest.mark.parametrize("noise", ["per_tensor", "official"])
@pytest.mark.parametrize("engine", ENGINES)
def test_one_direction_is_mezo_bit_for_bit(engine, noise):
    def weights(cls, **settings):
        model = Blocks().float()
        opt = cls(Scope(model.named_parameters()), lr=LR, weight_decay=0.1, engine=engine, noise=noise, **settings)
        for k in range(4):
            x, y = batch(k)
            opt.step(lambda x=x, y=y: (model(x.float()) - y.float()).square().mean())
        opt.settle()
        return model.weights()

    ours, theirs = weights(NSPSA, q=1), weights(MeZO)
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def fewer(problem, settings):
    """E[g] = grad, E|g|^2 = (1 + (n + 1) / q) |grad|^2."""
    grad = problem.gradient()
    return Moments(grad, (1 + (grad.numel() + 1) / settings["q"]) * float(grad @ grad))


def test_moments_of_the_average():
    assert "square" in check_moments(NSPSA, {"q": 3}, fewer)


# ---- mezo_normalized


def normalized(per, q, masks=None):
    theta = Blocks().weights()
    masks = masks or {n: torch.ones_like(w) for n, w in theta.items()}
    for t in range(STEPS):
        z = averaged_over(theta, t, q, masks)
        if per == "scope":
            size = sum(int(m.sum()) for m in masks.values())
            length = (sum(float(x.square().sum()) for x in z.values()) / size) ** 0.5
            theta = plus(theta, -LR / length, z)
        else:
            theta = plus(theta, -LR, {n: x / x.norm() * masks[n].sum() ** 0.5 for n, x in z.items()})
    return theta


def averaged_over(theta, t, q, masks):
    g = {n: torch.zeros_like(w) for n, w in theta.items()}
    for i in range(q):
        z = {n: x * masks[n] for n, x in draw(theta, t, i + 1).items()}
        g = plus(g, slope(theta, z, batch(t), EPS) / q, z)
    return g


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per", ["scope", "tensor"])
@pytest.mark.parametrize("q", [1, 3])
def test_normalized_step(engine, per, q):
    assert difference(run(MeZONormalized, engine=engine, per=per, q=q)[-1], normalized(per, q)) < 1e-8


@pytest.mark.parametrize("per", ["scope", "tensor"])
def test_entries_that_may_not_move_do_not_count(per):
    masks = half(Blocks().weights())
    ours = run(MeZONormalized, per=per, masks=masks)
    assert difference(ours[-1], normalized(per, 1, masks)) < 1e-8
    first, second = ours[:2]
    moved = torch.cat([(second[n] - first[n])[masks[n]] for n in first])
    assert float(moved.square().mean().sqrt()) == pytest.approx(LR, rel=1e-9)


def test_the_two_lengths_are_told_apart():
    assert difference(run(MeZONormalized, per="scope")[-1], run(MeZONormalized, per="tensor")[-1]) > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per", ["scope", "tensor"])
def test_where_all_losses_are_equal_the_weights_stay(engine, per):
    w = nn.Parameter(torch.ones(4, 3, dtype=torch.float64))
    opt = MeZONormalized([("w", w)], lr=1.0, engine=engine, per=per)
    opt.step(lambda: torch.tensor(0.7))
    opt.settle()
    assert float((w.detach() - 1).abs().max()) < 1e-12


def test_the_step_does_not_depend_on_the_size_of_the_loss():
    def move(factor):
        w = nn.Parameter(torch.ones(4, 3, dtype=torch.float64))
        MeZONormalized([("w", w)], lr=LR, q=2).step(lambda: factor * w.detach().square().sum())
        return w.detach()

    assert torch.allclose(move(1.0), move(1000.0), atol=1e-10)


# ---- sgd


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred"])
def test_sgd_is_torchs(engine):
    model = Blocks()
    decayed = [
        {"params": [p for n, p in model.named_parameters() if "bias" not in n], "weight_decay": 0.1},
    ]
    reference = torch.optim.SGD(decayed, lr=LR)
    for t in range(STEPS):
        reference.zero_grad()
        loss_at(dict(model.named_parameters()), batch(t)).backward()
        reference.step()
    assert difference(run(SGD, engine=engine, weight_decay=0.1)[-1], model.weights()) < 1e-12
    assert difference(run(SGD, engine=engine)[-1], model.weights()) > 1e-4


def test_sgd_counts_a_forward_and_a_backward():
    model = Blocks()
    opt = SGD(Scope(model.named_parameters()), lr=LR)
    opt.step(objective(model, 0))
    assert dict(opt.forwards) == {"train": 1, "backward": 1} and opt.state_bytes() == 0


# ---- settings


@pytest.mark.parametrize(
    ("cls", "setting", "text"),
    [
        (NSPSA, {"q": 0}, "q=0: must be at least 1"),
        (NSPSA, {"per": "scope"}, "unknown setting of NSPSA 'per'"),
        (MeZONormalized, {"per": "tensr"}, "did you mean 'tensor'"),
        (SGD, {"momentum": 0.9}, "unknown setting of SGD 'momentum'"),
    ],
)
def test_wrong_settings_are_named(cls, setting, text):
    with pytest.raises(ZobenchError, match=text):
        cls([("w", nn.Parameter(torch.ones(2)))], lr=1.0, **setting)
