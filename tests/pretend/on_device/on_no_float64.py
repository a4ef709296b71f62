"""A device that has no float64, as Apple's: what is computed wide elsewhere is computed in float32."""

from __future__ import annotations

import pytest
import torch
from kits import pretend_cuda
from pretend_kit import plugins, session, steps
from zobench_plugins.learned.masks import learn_masks

from zobench import devices
from zobench.engine.objective import Objective
from zobench.run.looks import block_scope, look

TRAINED = [name for name in plugins().names("estimators") if plugins().estimator(name).trains]
LOOSE = {"p_gap": 1e-2}  # it looks along singular vectors of what losses say, which rounding turns
UNSEEN = {"forward_grad"}  # torch.func's wrapped tensors hide their memory from the pretend device


@pytest.fixture(autouse=True)
def no_float64(monkeypatch):
    monkeypatch.setattr(devices, "FLOAT64", ("cpu",))
    devices.has_float64.cache_clear()
    pretend_cuda.native.has_float64(False)
    yield
    pretend_cuda.native.has_float64(True)
    devices.has_float64.cache_clear()


def test_it_refuses_float64():
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2, device="cuda").double()
    assert devices.widest(torch.device("cuda")) == torch.float32


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in UNSEEN])
def test_an_estimator_takes_steps(name):
    there, here = (steps(session(device), name, engine="flat") for device in ("cuda", "cpu"))
    assert there.losses == pytest.approx(here.losses, abs=LOOSE.get(name, 1e-4))


def test_looks_and_masks_are_those_of_a_cpu():
    found = {}
    for device in ("cuda", "cpu"):
        loaded = session(device).loaded
        ids = torch.arange(3, 15, device=device).view(2, 6)
        scope = block_scope(loaded, 1)
        objective = Objective(
            loaded.model, lambda model, x: model(input_ids=x).logits.float().logsumexp(-1).mean(), ids
        )
        _, gradient = objective.gradient([name for name, _ in scope.named])
        looked = look(scope, objective, seed=0, eps=1e-2, gradient={n: g.cpu().to(device) for n, g in gradient.items()})
        masks, facts = learn_masks(loaded, [objective], density=0.01)
        found[device] = looked, facts["share_of_squares"], {name: index.tolist() for name, index in masks.items()}
    (there, share, masks), (_, of_cpu, of_cpu_masks) = found["cuda"], found["cpu"]
    assert all(x is not None for x in there)
    assert share == pytest.approx(of_cpu, rel=1e-4) and masks == of_cpu_masks
