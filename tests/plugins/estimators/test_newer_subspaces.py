"""zo_mopi, loren, quzo, zo_act: each step against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import math

import pytest
import torch
from kits.drawing_kit import EPS, LR, held, run
from kits.reading_kit import Blocks, batch, difference, draw, gaussian, loss_at, plus, slope
from torch import nn
from zobench_plugins.estimators.loren import LOREN
from zobench_plugins.estimators.quzo import QuZO, uniform
from zobench_plugins.estimators.zo_act import ZOAct
from zobench_plugins.estimators.zo_mopi import ZOMOPI

from zobench import Objective, Scope, ZobenchError


def haar(x):
    q, r = torch.linalg.qr(x)
    return q * r.diagonal().sign()


# ---- ZO-MOPI

MOPI = {"queries": 2, "rank": 3, "keep": 2, "interval": 3, "vector_lr": 1e-2}


def mopi(steps=8, beta=0.9, two_sided=True, anchored=True, carried=True, warm=True, everything=False):
    theta, m, v, old = Blocks().weights(), {}, {}, {}
    for t in range(steps):
        a = {n: haar(held("A", t // 3, n, (w.shape[0], 3))) for n, w in theta.items() if w.ndim == 2}
        start = {n: torch.linalg.qr(held("V", t // 3, n, (theta[n].shape[1], 2))).Q for n in a}
        g = {n: 0.0 for n in theta}
        for i in range(2):
            z = {
                n: gaussian(0, t, 2 * i + (2 if n in a else 1), n, (3, w.shape[1]) if n in a else tuple(w.shape))
                for n, w in theta.items()
            }
            d = {n: a[n] @ z[n] if n in a else z[n] for n in z}
            c = slope(theta, d, batch(t), EPS)
            if not two_sided:
                c = float(loss_at(plus(theta, EPS, d), batch(t)) - loss_at(theta, batch(t))) / EPS
            g = {n: g[n] + c / 2 * z[n] for n in g}
        step = {}
        for n in theta:
            if n in a and n in m and anchored and carried and bool((old[n] != a[n]).any()):
                m[n] = a[n].T @ old[n] @ m[n]
            m[n] = beta * m[n] + (1 - beta) * g[n] if n in m else g[n]
            if n not in a:
                theta[n] = theta[n] - 1e-2 * m[n]
                continue
            if n not in v or not warm or (not anchored and t % 3 == 0):
                v[n] = start[n]
            v[n] = torch.linalg.qr(m[n].T @ (m[n] @ v[n])).Q
            u = m[n] @ v[n]
            step[n] = a[n] @ (u / u.norm(dim=0)) @ v[n].T
            if everything:
                x, _, y = torch.linalg.svd(m[n], full_matrices=False)
                step[n] = a[n] @ x @ y
        theta, old = plus(theta, -LR, step), a
    return theta


@pytest.mark.parametrize("settings", [{}, {"two_sided": False}, {"anchored": False, "beta": 0.0}])
def test_mopi_step(settings):
    ours, opt = run(ZOMOPI, **MOPI, **settings)
    assert difference(ours, mopi(**settings)) < 1e-7
    assert opt.forwards == {"train": 8 * (4 if settings.get("two_sided", True) else 3)}
    wrongs = [{"everything": True}, {"warm": False}, {"beta": 0.5}, *([{"carried": False}] if not settings else [])]
    assert all(difference(ours, mopi(**{**settings, **wrong})) > 1e-4 for wrong in wrongs)


# ---- LOREN


def loren(steps=8, k=3, rho=0.1, lr_cov=1e-3, beta=0.9, eps=EPS, learnt=True, minus=False, loo=True):
    """The box as it stands: K moves a step."""
    theta = Blocks().weights()
    a = {n: held("a", 0, n, (*(1,) * (w.ndim - 1), w.shape[-1])) for n, w in theta.items()}
    m = {n: torch.zeros_like(w) for n, w in theta.items()}
    for t in range(steps):
        us = [draw(theta, t, i + 1) for i in range(k)]
        big = {n: a[n].expand(theta[n].shape) for n in theta}
        ss = []
        for u in us:
            s = {}
            for n, x in big.items():
                sq = float((x * x).sum())
                sign = -1 if minus else 1
                s[n] = u[n] - (1 + sign * math.sqrt(rho / (rho + sq))) * float((x * u[n]).sum()) / sq * x
            ss.append(s)
        f = torch.stack([loss_at(plus(theta, eps, s), batch(t)) for s in ss])
        w = ((f - f.mean()) / ((k - 1) if loo else k)).tolist()
        for i in range(k):
            for n in theta:
                g = w[i] / eps * ss[i][n]
                m[n] = beta * m[n] + g if theta[n].ndim > 1 else g
                theta[n] = theta[n] - LR * m[n]
        for n, x in big.items():
            sq, step = float((x * x).sum()), 0.0
            root = math.sqrt(rho + sq)
            for i in range(k):
                dot = float((x * us[i][n]).sum())
                d = (dot * us[i][n] - x - (math.sqrt(rho) + root) * (dot**2 - sq) * x / (sq * root)) / root
                step = step + w[i] * eps**2 * (d.sum(0, keepdim=True) if d.ndim > 1 else d)
            a[n] = a[n] - lr_cov * learnt * step
    return theta


def test_loren_step():
    ours, opt = run(LOREN, queries=3)
    assert difference(ours, loren()) < 1e-9
    assert opt.forwards == {"train": 24}
    assert all(difference(ours, loren(**wrong)) > 1e-4 for wrong in ({"minus": True}, {"loo": False}, {"beta": 0.5}))


def test_the_vector_of_loren_is_learnt():
    settings = {"queries": 3, "lr_cov": 1e5, "eps": 1e-2}
    ours, _ = run(LOREN, steps=4, **settings)
    assert difference(ours, loren(4, lr_cov=1e5, eps=1e-2)) < 1e-7
    assert difference(ours, loren(4, eps=1e-2, learnt=False)) > 1e-4


# ---- QuZO


def rounded(x, spacing, noise):
    return torch.floor(x / spacing + uniform(noise)) * spacing


def grid(x, bits):
    return float(x.abs().max()) / (2 ** (bits - 1) - 1)


def quzo(steps=6, q=1, bits=4, weight_bits=8, together=False, nearest=False):
    """together: one rounding for looks and moves."""
    theta = Blocks().weights()
    grids = {n: grid(w, weight_bits) for n, w in theta.items() if w.ndim == 2 and weight_bits}
    theta = {n: torch.round(w / grids[n]) * grids[n] if n in grids else w for n, w in theta.items()}
    for t in range(steps):
        moves = []
        for i in range(q):
            z = draw(theta, t, 3 * i + 1)
            spacing = {n: grid(x, bits) for n, x in z.items()}
            u, v = ({n: rounded(z[n], spacing[n], x) for n, x in draw(theta, t, 3 * i + j).items()} for j in (2, 3))
            moves.append((slope(theta, u, batch(t), EPS) / q, u if together else v))
        for i, (c, v) in enumerate(moves):
            noise = draw(theta, t, 3 * q + 1 + i)
            for n in theta:
                step = -LR * c * v[n]
                if n in grids:
                    step = torch.round(step / grids[n]) * grids[n] if nearest else rounded(step, grids[n], noise[n])
                theta[n] = theta[n] + step
    return theta


@pytest.mark.parametrize("settings", [{}, {"q": 2}, {"bits": 2}, {"weight_bits": 0}])
def test_quzo_step(settings):
    ours, opt = run(QuZO, steps=6, **settings)
    assert difference(ours, quzo(**settings)) < 1e-9
    assert opt.forwards == {"train": 12 * settings.get("q", 1)}
    assert difference(ours, quzo(**{**settings, "together": True})) > 1e-4
    assert difference(ours, quzo(**{**settings, "bits": 6})) > 1e-4
    if settings.get("weight_bits", 8):
        assert difference(ours, quzo(**{**settings, "nearest": True})) > 1e-4


def test_weights_stay_on_their_grid_and_the_rounding_keeps_the_mean():
    ours, opt = run(QuZO, steps=3, weight_bits=3)
    codes = ours["layers.0.w"] / opt.grid[next(p for p in opt.handles if p.name == "layers.0.w")]
    assert float((codes - codes.round()).abs().max()) < 1e-9
    x = torch.randn(200_000, generator=torch.Generator().manual_seed(0)).double()
    assert float(rounded(torch.full_like(x, 0.3), 1.0, x).mean()) == pytest.approx(0.3, abs=0.01)


class Late(Scope):
    """The second layer may first move in step 2."""

    def active(self, step):
        return lambda name: "layers.1." not in name or step >= 2


def test_a_matrix_is_put_on_its_grid_when_it_may_first_move():
    def codes(steps):
        weights, opt = run(QuZO, steps=steps, scope=Late, weight_bits=3)
        return weights["layers.1.w"] / grid(Blocks().weights()["layers.1.w"], 3)

    assert torch.equal(codes(2), codes(0))
    assert float((codes(2) - codes(2).round()).abs().max()) > 0.1
    assert float((codes(4) - codes(4).round()).abs().max()) < 1e-9


# ---- ZO-Act


def two_layers():
    g = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / 2)
    return model


def square(forward, b):
    return (forward(b[0]).sum(-1) - b[1]).square().mean()


def acting(steps, rank, adam=True):
    """In coordinates: W0 + C A^T, A of a further batch's inputs; Adam on C."""
    model = two_layers()
    first, second = (model[i].weight.detach().clone() for i in (0, 2))
    biases = [model[i].bias.detach() for i in (0, 2)]
    x = batch(77)[0]
    inputs = [x, torch.tanh(x @ first.T + biases[0])]
    a = [torch.linalg.svd(h, full_matrices=False).Vh[:rank].T for h in inputs]
    names = ["0.weight", "2.weight"]
    c = [torch.zeros(w.shape[0], rank).double() for w in (first, second)]
    m, v = ([torch.zeros_like(k) for k in c] for _ in range(2))

    def loss(k, t):
        b = batch(t)
        h = torch.tanh(b[0] @ (first + k[0] @ a[0].T).T + biases[0])
        return square(lambda _: h @ (second + k[1] @ a[1].T).T + biases[1], b)

    for t in range(steps):
        r = [gaussian(0, t, 1, n, tuple(k.shape)) for n, k in zip(names, c, strict=True)]
        ups = [loss([k + s * EPS * x for k, x in zip(c, r, strict=True)], t) for s in (1, -1)]
        g = [float(ups[0] - ups[1]) / (2 * EPS) * x for x in r]
        for i in range(2):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g[i], 0.999 * v[i] + 0.001 * g[i] ** 2
            step = m[i] / (1 - 0.9 ** (t + 1)) / ((v[i] / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
            c[i] = c[i] - LR * (step if adam else g[i])
    return {"0.weight": first + c[0] @ a[0].T, "2.weight": second + c[1] @ a[1].T}


def acted(steps=5, **settings):
    model = two_layers()
    opt = ZOAct(Scope(model.named_parameters()), lr=LR, engine="pair", **settings)
    for t in range(steps):
        opt.step(Objective(model, square, batch(t), iter([batch(77)]), batched=False))
    opt.settle()
    return {n: p.detach().clone() for n, p in model.named_parameters()}, opt


@pytest.mark.parametrize("rank", [1, 2])
def test_zo_act_step(rank):
    ours, opt = acted(rank=rank)
    weights = acting(5, rank)
    assert difference(weights, ours) < 1e-9
    assert difference(acting(5, rank, adam=False), ours) > 1e-4
    assert opt.forwards == {"train": 10, "extra": 1}
    before = dict(two_layers().named_parameters())
    assert all(torch.equal(ours[n], before[n]) for n in ("0.bias", "2.bias")), "vectors stay"
    assert int(torch.linalg.matrix_rank(ours["0.weight"] - before["0.weight"].detach(), atol=1e-9)) == rank
    assert difference({n: ours[n] for n in weights}, acted(rank=rank, basis="random")[0]) > 1e-4


def test_zo_act_without_linear_layers_says_so():
    with pytest.raises(ZobenchError, match="linear layers alone, and the scope has none"):
        model = Blocks()
        opt = ZOAct(Scope(model.named_parameters()), lr=LR, engine="pair")
        opt.step(
            Objective(model, lambda f, b: (f(b[0]) - b[1]).square().mean(), batch(0), iter([batch(1)]), batched=False)
        )
