"""Weights of a few bits: what is rounded, what trains, and that nothing of it stays."""

from __future__ import annotations

import pytest
import torch
from test_parameterisation import gpt2, layer, llama, logits, opt, picture, whole

from zobench import Scope, ZobenchError
from zobench.parameterisations import attach
from zobench.parameterisations.scales import QuantisedLinear


@pytest.mark.parametrize("make", [llama, opt])
def test_all_linear_layers_are_rounded_and_leave_no_trace(make):
    model = make()
    before, out = picture(model), logits(model)
    put = attach("scales", model, whole(model))
    rounded = [n for n, m in model.named_modules() if isinstance(m, QuantisedLinear)]
    assert [n for n, _ in put.scope.named] == [f"{n}.scales" for n in rounded] and "lm_head" not in rounded
    assert len(rounded) == {"llama": 14, "opt": 12}[make.__name__]
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {n for n, _ in put.scope.named}
    coarse = float((logits(model) - out).norm() / out.norm())
    put.detach()
    put.detach()
    assert picture(model) == before and torch.equal(logits(model), out)
    fine = attach("scales", model, whole(model), settings={"bits": 8, "group": 4})
    assert float((logits(model) - out).norm() / out.norm()) < 0.1 * coarse < 0.1
    fine.detach()


def test_a_layer_of_a_rounded_model_trains_its_own_scales():
    model = llama(layers=3)
    put = attach("scales", model, layer(model, 1), settings={"group": 8})
    assert {n.split(".")[2] for n, _ in put.scope.named} == {"1"} and len(put.scope.named) == 7
    assert sum(isinstance(m, QuantisedLinear) for m in model.modules()) == 21
    shapes = {n.split(".")[4]: tuple(p.shape) for n, p in put.scope.named}
    assert shapes["q_proj"] == (16, 2) and shapes["down_proj"] == (16, 3)
    with torch.no_grad():
        dict(put.scope.named)["model.layers.1.self_attn.q_proj.scales"].mul_(2)
    q = model.model.layers[1].self_attn.q_proj
    twice = q(torch.eye(16)).T
    put.detach()
    assert torch.allclose(twice / 2, model.model.layers[1].self_attn.q_proj.weight, atol=0.02)


@pytest.mark.parametrize(("bits", "group", "columns"), [(4, 128, 16), (4, 5, 16), (2, 4, 6), (8, 16, 16)])
def test_rounding_is_to_the_nearest_of_the_groups_codes(bits, group, columns):
    torch.manual_seed(bits)
    linear = torch.nn.Linear(columns, 7).requires_grad_(False)
    linear.weight[0] = 0.0
    made, largest = QuantisedLinear(linear, bits, group), 2 ** (bits - 1) - 1
    x = torch.eye(columns)
    weight = (made(x).T - linear.bias[:, None]).detach()
    assert made.codes.abs().max() == largest and made.codes.dtype == torch.int8
    for row in range(7):
        for i in range(0, columns, min(group, columns)):
            part = linear.weight[row, i : i + group]
            scale = part.abs().max() / largest
            assert torch.allclose(made.scales[row, i // min(group, columns)], scale)
            assert float((weight[row, i : i + group] - part).abs().max()) <= float(scale) * 0.5001 + 1e-6


def test_faults_are_named():
    model = llama()
    before = picture(model)
    with pytest.raises(ZobenchError, match=r"scales: no linear layer lies in the chosen scope \(1 tensors\)"):
        attach("scales", model, Scope([("model.norm.weight", model.model.norm.weight)]))
    with pytest.raises(ZobenchError, match="no linear layer"):
        attach("scales", gpt2(), whole(gpt2()))  # its matrices are no nn.Linear
    with pytest.raises(ZobenchError, match="masks entries of .*, and a scale is of many of them"):
        named = list(model.named_parameters())
        attach("scales", model, Scope(named, masks={n: torch.ones_like(p, dtype=torch.bool) for n, p in named}))
    with pytest.raises(ZobenchError, match="scales.bits=9: must be .* at most 8"):
        attach("scales", model, whole(model), settings={"bits": 9})
    assert picture(model) == before
