"""A model whose blocks lie on two GPUs, as transformers spreads one that is too large for either."""

from __future__ import annotations

import pytest
import torch
from accelerate import dispatch_model
from kits import pretend_cuda
from kits.matrix import covering
from pretend_kit import plugins, session, steps, world

from zobench import devices
from zobench.models.load import load_model
from zobench.run.memory import PeakMemory
from zobench.run.method import free_of
from zobench.run.session import Session


@pytest.fixture(scope="module")
def spread() -> Session:
    loaded = load_model(str(world().model), device="cuda:0", offline=True)
    places = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 1}
    places |= {f"model.layers.{i}": int(i > 0) for i in range(len(loaded.blocks))}
    loaded.model = dispatch_model(loaded.model.to("cpu"), places, main_device=0, force_hooks=True)
    return Session(loaded, plugins(), world().data)


@pytest.mark.parametrize(
    ("engine", "scope"), covering(["flat", "deferred", "pair", "streamed", "official_fused"], ["full", "layer"])
)
def test_a_step_is_that_of_the_cpu(spread, engine, scope):
    there, here = (steps(where, engine=engine, scope=scope, rows="shared") for where in (spread, session("cpu")))
    assert there.losses == pytest.approx(here.losses, abs=5e-6)
    assert there.total == pytest.approx(here.total, rel=1e-6)


def test_memory_and_waits_are_of_both(spread):
    placed = spread.loaded.devices
    assert placed == [torch.device("cuda:0"), torch.device("cuda:1")]
    before = PeakMemory(placed)
    assert before.peak() == sum(pretend_cuda.native.allocated(i) for i in range(2)) and "each of" in before.kind
    scarce = torch.empty(2**30, dtype=torch.uint8, device="cuda:1")  # of which a share of the weights is to be had
    assert free_of(spread.loaded) < devices.free(placed[0]) * 2
    assert free_of(spread.loaded) == devices.free_for(devices.spread(spread.loaded.model))
    del scarce
    pretend_cuda.waited.clear()
    devices.synchronize(placed)
    assert pretend_cuda.waited["synchronize"] == 2


@pytest.mark.parametrize("device_map", ["balanced", "sequential"])
def test_a_model_that_one_could_hold_is_spread_where_that_is_said(device_map, monkeypatch):
    if device_map == "sequential":  # each is filled in turn
        need = load_model(str(world().model), device="cpu", offline=True).weights_bytes
        monkeypatch.setattr(devices, "free", lambda device: need if device.index == 0 else 4 * need)
    loaded = load_model(str(world().model), device="auto", device_map=device_map, offline=True)
    assert loaded.devices == [torch.device("cuda:0"), torch.device("cuda:1")] and loaded.device.index == 0
    for block in loaded.blocks:
        assert len({p.device for _, p in block.module.named_parameters()}) == 1, "no block is divided"
    there, here = (steps(where) for where in (Session(loaded, plugins(), world().data), session("cpu")))
    assert there.losses == pytest.approx(here.losses, abs=5e-6)
    alone = load_model(str(world().model), device="auto", device_map="none", offline=True)
    assert len(alone.devices) == 1
