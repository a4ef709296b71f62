"""QZO: the slope is clipped, scales stay above the floor, codes stay, and eps is absolute."""

from __future__ import annotations

import pytest
import torch
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.qzo import QZO

from zobench import Objective, Scope
from zobench.parameterisations import attach


def line(slope):
    """A loss with this slope along every entry of one tensor called like scales."""
    scales = torch.full((4, 3), 0.02, dtype=torch.float64)
    return scales, Scope([("a.scales", scales)]), lambda: slope * scales.sum()


def stepped(cls, slope, lr, **settings):
    scales, scope, loss = line(slope)
    opt = cls(scope, lr=lr, seed=5, **settings)
    opt.step(loss)
    opt.settle()
    return scales - 0.02


def test_the_slope_is_clipped():
    plain, clipped = stepped(MeZO, 1e4, 1e-9), stepped(QZO, 1e4, 1e-9)
    ratio = (clipped / plain).flatten()
    assert torch.allclose(ratio, ratio[0].expand(12)) and 0 < ratio[0] < 0.1
    assert torch.allclose(stepped(QZO, 1e4, 1e-9, clip=1e9), plain)
    assert torch.allclose(stepped(QZO, 1e-3, 1e-4), stepped(MeZO, 1e-3, 1e-4)), "a small slope is as it is"


@pytest.mark.parametrize("floor", [0.0, 1e-2])
def test_no_scale_falls_below_the_floor(floor):
    free = 0.02 + stepped(MeZO, 10.0, 1e-2)
    held = 0.02 + stepped(QZO, 10.0, 1e-2, floor=floor)
    assert bool((free < floor).any()) and bool((free > floor).any())
    assert torch.allclose(held, free.clamp(min=floor), atol=1e-12)


def test_other_tensors_have_no_floor():
    w = torch.zeros(6, dtype=torch.float64)
    opt = QZO(Scope([("w", w)]), lr=1e-2, seed=1)
    opt.step(lambda: 3.0 * w.sum())
    opt.settle()
    assert bool((w < 0).any())


def test_a_rounded_model_learns_and_its_codes_stay():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(**shape, initializer_range=0.2)).eval()
    put = attach("scales", model, Scope(model.named_parameters()), settings={"group": 8, "clip": 1.0})
    codes = {n: b.clone() for n, b in model.named_buffers() if n.endswith("codes")}
    ids = torch.randint(32, (4, 12))
    objective = Objective(model, lambda forward, batch: forward(input_ids=batch, labels=batch).loss, ids)
    opt = QZO(put.scope, lr=3e-5, seed=0, group=8)
    losses = [float(opt.step(objective)) for _ in range(150)]
    opt.settle()
    assert sum(losses[-10:]) / 10 < sum(losses[:10]) / 10 - 0.02
    assert codes and all(torch.equal(b, codes[n]) for n, b in model.named_buffers() if n.endswith("codes"))
    assert all(bool((p >= 0).all()) for _, p in put.scope.named)
