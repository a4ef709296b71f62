"""tezo, r_adazo, zo_blockwise: each step against its equations in plain torch, and versions that are not it."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import EPS, LR, held, run
from kits.reading_kit import Blocks, batch, difference, draw, gaussian, loss_at, plus, slope
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.r_adazo import RAdaZO
from zobench_plugins.estimators.tezo import TeZO
from zobench_plugins.estimators.zo_blockwise import ZOBlockwise, block_of

from zobench import Scope
from zobench.plugins.registry import load_plugins

# ---- TeZO


def tezo(form, steps=8, rank=3, beta1=0.9, beta2=0.99, delta=1e-8, redrawn=False, cross=False, decayed=True):
    """U and V of the whole run, tau of each step; moments of c tau. cross: the square of the whole moment instead."""
    theta = Blocks().weights()
    m, v = dict.fromkeys(theta, 0.0), dict.fromkeys(theta, 0.0)
    for t in range(steps):
        epoch = t if redrawn else 0
        fs = {
            n: [held(f"tezo-{side}", epoch, n, (k, rank)) for side, k in zip("uv", w.shape, strict=True)]
            for n, w in theta.items()
            if w.ndim == 2
        }
        tau = {
            n: gaussian(0, t, 1 if n in fs else 2, n, (1, rank) if n in fs else tuple(w.shape))
            for n, w in theta.items()
        }

        def lifted(x, fs=fs, square=False):
            k = 2 if square else 1
            return {n: (fs[n][0] ** k * x[n]) @ (fs[n][1] ** k).T if n in fs else x[n] for n in x}

        d = lifted(tau)
        c = slope(theta, d, batch(t), EPS)
        step = {n: c * x for n, x in d.items()}
        if form != "sgd":
            m = {n: beta1 * m[n] + ((1 - beta1) if decayed else 1) * c * tau[n] for n in theta}
            v = {n: beta2 * v[n] + (1 - beta2) * (c * tau[n]) ** 2 for n in theta}
            step = lifted(m)
        if form == "adam":
            root = (
                lifted(v, square=True)
                if not cross
                else {n: x**2 for n, x in lifted({n: y**0.5 for n, y in v.items()}).items()}
            )
            step = {n: x / (root[n] + delta) ** 0.5 for n, x in step.items()}
        theta = plus(theta, -LR, step)
    return theta


@pytest.mark.parametrize("form", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("engine", ["pair", "flat"])
def test_tezo_step(form, engine):
    ours, opt = run(TeZO, rank=3, form=form, engine=engine)
    assert difference(ours, tezo(form)) < 1e-9
    assert difference(ours, tezo(form, redrawn=True)) > 1e-4, "U and V are of the whole run"
    assert all(difference(ours, tezo(other)) > 1e-4 for other in ("sgd", "momentum", "adam") if other != form)
    if form == "momentum":
        assert difference(ours, tezo(form, decayed=False)) > 1e-4
    if form == "adam":
        assert difference(ours, tezo(form, cross=True)) > 1e-6, "products of terms are left out"
    kept = sum(opt.state_of(tuple(p.shape)) for p in opt.handles)
    assert opt.state_bytes() == 8 * kept


def test_tezo_is_mezo_along_its_directions():
    along = load_plugins(only="").estimator("mezo:tezo")
    assert difference(run(TeZO, rank=3)[0], run(along, **{"directions.rank": 3})[0]) == 0


# ---- EGGROLL


@pytest.mark.parametrize("rank", [1, 3])
def test_eggroll_direction(rank, steps=4):
    """noiser/eggroll.py: (A sigma / sqrt(r)) B^T on matrices, sigma times Gaussian noise on all else."""
    theta = Blocks().weights()
    for t in range(steps):
        d = {}
        for n, w in theta.items():
            if w.ndim == 2:
                a, b = (gaussian(0, t, k + 1, n, (side, rank)) for k, side in enumerate(w.shape))
                d[n] = torch.einsum("ir,jr->ij", a / rank**0.5, b)
            else:
                d[n] = gaussian(0, t, 3, n, tuple(w.shape))
        theta = plus(theta, -LR * slope(theta, d, batch(t), EPS), d)
    cls = load_plugins(only="").estimator("mezo:eggroll")
    assert difference(run(cls, steps=steps, **{"directions.rank": rank})[0], theta) < 1e-10


# ---- R-AdaZO


def r_adazo(q=1, steps=8, of_estimate=False, central=False, beta1=0.9, beta2=0.999, delta=1e-8):
    theta = Blocks().weights()
    m = {n: torch.zeros_like(w) for n, w in theta.items()}
    v = {n: torch.zeros_like(w) for n, w in theta.items()}
    count = sum(w.numel() for w in theta.values())
    for t in range(steps):
        g = {n: torch.zeros_like(w) for n, w in theta.items()}
        for k in range(q):
            z = draw(theta, t, number=k + 1)
            length = (sum(float(x.square().sum()) for x in z.values()) / count) ** 0.5
            w = {n: x / length for n, x in z.items()}
            if central:
                c = slope(theta, w, batch(t), EPS)
            else:
                c = float(loss_at(plus(theta, EPS, w), batch(t)) - loss_at(theta, batch(t))) / EPS
            g = {n: g[n] + c / q * w[n] for n in g}
        m = {n: beta1 * m[n] + (1 - beta1) * g[n] for n in g}
        v = {n: beta2 * v[n] + (1 - beta2) * (g[n] if of_estimate else m[n]) ** 2 for n in g}
        theta = plus(theta, -LR, {n: m[n] / (v[n] + delta).sqrt() for n in g})
    return theta


@pytest.mark.parametrize("q", [1, 3])
def test_r_adazo_step(q):
    ours, opt = run(RAdaZO, q=q)
    assert difference(ours, r_adazo(q)) < 1e-9 and opt.forwards == {"train": 8 * (q + 1)}
    assert difference(ours, r_adazo(q, of_estimate=True)) > 1e-4, "v is of m, not of g"
    assert difference(ours, r_adazo(q, central=True)) > 1e-6


# ---- block-wise


def blockwise(order, steps=6):
    """Blocks of Blocks(), in its order: the embedding, the rest, three layers; a slope for each."""
    theta = Blocks().weights()
    blocks = [["embed"], ["head"], *([n for n in theta if f"layers.{i}." in n] for i in range(3))]
    for t in range(steps):
        start = theta
        for k, names in enumerate(blocks):
            z = {n: gaussian(0, t, k + 1, n, tuple(theta[n].shape)) for n in names}
            c = slope(theta if order == "in_turn" else start, z, batch(t), EPS)
            theta = plus(theta, -LR * c, z)
    return theta


@pytest.mark.parametrize("order", ["in_turn", "together"])
def test_blockwise_step(order):
    ours, opt = run(ZOBlockwise, steps=6, order=order)
    assert difference(ours, blockwise(order)) < 1e-10
    assert difference(ours, blockwise("together" if order == "in_turn" else "in_turn")) > 1e-4
    assert opt.forwards == {"train": 6 * 2 * 5}, "two for each block"


def test_blocks_are_those_of_the_released_code():
    """OPT's list in zo-bench/utils.py: layers.N, embed_tokens, embed_positions and final_layer_norm, each by itself."""
    decoder = "model.decoder."
    of = {
        "embed_tokens.weight": "embed_tokens",
        "embed_positions.weight": "embed_positions",
        "final_layer_norm.weight": "final_layer_norm",
        "final_layer_norm.bias": "final_layer_norm",
        "layers.0.self_attn.q_proj.weight": "layers.0",
        "layers.11.fc1.bias": "layers.11",
        "layers.11.final_layer_norm.bias": "layers.11",
    }
    found = {name: block_of(decoder + name) for name in of}
    assert [[a == b for b in of.values()] for a in of.values()] == [
        [a == b for b in found.values()] for a in found.values()
    ]
    assert block_of("model.norm.weight") != block_of("lm_head.weight")


def test_over_one_block_it_is_mezo():
    def one(named):
        return Scope([(n, p) for n, p in named if "layers.1." in n])

    assert difference(run(ZOBlockwise, scope=one)[0], run(MeZO, scope=one)[0]) == 0
