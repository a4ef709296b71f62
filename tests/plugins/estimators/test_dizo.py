"""DiZO: steps and projections against their equations in plain torch, and what is not it."""

from __future__ import annotations

import itertools

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, gaussian, loss_at, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.dizo import DiZO
from zobench_plugins.estimators.mezo import MeZO

from zobench import Scope, ZobenchError
from zobench.testing.problems import Rotating

LR, EPS, STEPS = 1e-2, 1e-3, 7
SETTINGS = {"kappa": 3, "inner": 4, "tau": 0.3, "eps_p": 0.05, "lr_p": 2.0}
TARGETS = ("layers.0", "head")


def further(step):
    """Numbers of the further batches of a step."""
    return itertools.count(1000 * (step + 1))


def run(cls=DiZO, engine="pair", scope=Scope, **settings):
    model = Blocks()
    opt = cls(scope(model.named_parameters()), lr=LR, engine=engine, **settings)
    for k in range(STEPS):
        opt.step(objective(model, k, extra=map(batch, further(k))))
    opt.settle()
    return model.weights(), opt


def dizo(kappa, inner, tau, eps_p, lr_p, targets=TARGETS, moves=None):
    theta = start = Blocks().weights()
    chosen = [n for n in theta if any(t in n for t in targets)]
    for t in range(STEPS):
        z = draw(theta, t)
        theta = plus(theta, -LR * slope(theta, z, batch(t), EPS), z)
        if (t + 1) % kappa:
            continue
        delta = {n: theta[n] - start[n] for n in chosen}
        norm = {n: float(d.norm()) for n, d in delta.items()}
        gamma, batches = dict(norm), further(t)

        def at(g, delta=delta, norm=norm, theta=theta):
            return {**theta, **{n: start[n] + g[n] * delta[n] / norm[n] for n in delta}}

        for j in range(inner):
            b = batch(next(batches))
            bound = {n: tau / eps_p * norm[n] for n in chosen}
            z = {n: max(-bound[n], min(bound[n], float(gaussian(0, t, 2 + j, n, ())))) for n in chosen}
            lp, lm = (float(loss_at(at({n: gamma[n] + s * eps_p * z[n] for n in chosen}), b)) for s in (1, -1))
            c = (lp - lm) / (2 * eps_p)
            for n in chosen:
                gone = gamma[n] - lr_p * norm[n] * c * z[n]
                gamma[n] = max((1 - tau) * norm[n], min((1 + tau) * norm[n], gone))
        if moves is not None:
            moves += [gamma[n] / norm[n] for n in chosen]
        theta = at(gamma)
    return theta


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_steps_and_projections(engine):
    theta, opt = run(engine=engine, targets=TARGETS, **SETTINGS)
    assert difference(theta, dizo(**SETTINGS)) < 1e-9
    assert opt.forwards == {"train": 2 * STEPS, "extra": 2 * 4 * 2}


def test_the_search_stretches_and_shrinks_and_is_bounded():
    moves = []
    dizo(**SETTINGS, moves=moves)
    assert min(moves) < 1 < max(moves) and all(0.7 - 1e-12 <= m <= 1.3 + 1e-12 for m in moves)
    assert any(abs(m - 1) < 0.29 for m in moves), "not all at the bound"


@pytest.mark.parametrize("other", [{"kappa": 4}, {"inner": 3}, {"tau": 0.1}, {"lr_p": 0.5}, {"targets": ("layers",)}])
def test_every_constant_tells(other):
    theta, _ = run(targets=TARGETS, **SETTINGS)
    assert difference(theta, dizo(**{**SETTINGS, **other})) > 1e-6


def test_without_projections_it_is_mezo_bit_for_bit_and_the_embedding_moves():
    theta, opt = run(targets=TARGETS, kappa=10**9)
    assert difference(theta, run(MeZO)[0]) == 0
    assert not torch.equal(theta["embed"], Blocks().weights()["embed"]), "the released code leaves it where it is"
    start = opt.state_dict()["buffers"]["start"]
    assert set(start) == {"layers.0.w", "layers.0.b", "head"}
    assert all(torch.equal(w, Blocks().weights()[n]) for n, w in start.items())


def test_the_start_keeps_the_dtype_of_the_weights():
    w = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    opt = DiZO([("q_proj.weight", w)], lr=1e-3)
    assert opt.state_bytes() == 16 * 2


def test_paper_and_released_code_project_other_tensors():
    names = [f"model.layers.0.self_attn.{x}_proj.weight" for x in "qkvo"]
    handles = DiZO([(n, nn.Parameter(torch.zeros(2, 2))) for n in names], lr=1.0).handles

    def chosen(**settings):
        opt = DiZO([(p.name, p.param) for p in handles], lr=1.0, **settings)
        return [p.name.split(".")[-2][0] for p in opt.handles if opt.projected(p)]

    assert chosen() == ["q", "v"]
    assert chosen(targets="k_proj.weight,v_proj.weight") == ["k", "v"]
    lora = "model.layers.0.self_attn.q_proj.lora_A.zobench.weight"
    opt = DiZO([(lora, nn.Parameter(torch.zeros(2, 2)))], lr=1.0)
    assert opt.projected(opt.handles[0])


def test_a_scope_without_any_of_them_is_refused():
    with pytest.raises(ZobenchError, match=r"dizo: no tensor .* q_proj.weight or v_proj.weight or lora_ .* as embed$"):
        run()


def test_a_scope_that_changes_projects_what_moves():
    def layers(named):
        return Rotating(list(named), layers=3, period=1)

    settings = {"kappa": 2, "inner": 2, "targets": ("layers.1",), "scope": layers}
    _, opt = run(**settings)  # projections are due at steps 1, 3, 5, which move layers 1, 0, 2
    assert opt.forwards["extra"] == 2 * 2 * 1


def test_a_plain_closure_has_no_further_batches():
    w = nn.Parameter(torch.zeros(2, 2))
    opt = DiZO([("q_proj.weight", w)], lr=1e-3, kappa=1)
    with pytest.raises(TypeError, match=r"DiZO needs objective.fresh"):
        opt.step(lambda: w.detach().sum())
