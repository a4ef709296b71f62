"""How many kernels a step launches beside its forwards, where counter-based noise is drawn by torch."""

from __future__ import annotations

import pytest
import torch
from kits import pretend_cuda
from kits.matrix import named
from pretend_kit import plugins

from zobench.run.selection import everything

MOST = {"flat": 120, "deferred": 540, "pair": 540}
"""Drawing takes about 100; on `deferred` and `pair` a product and a sum for each tensor come on top."""


def launched(loaded, engine: str, **settings) -> int:
    """Kernels of the third step of MeZO over all weights, with a loss that launches none."""
    loss = torch.ones((), device="cuda")
    made = plugins().estimator("mezo")(everything(loaded), 1e-4, engine=engine, noise="philox", seed=0, **settings)
    for _ in range(2):
        made.step(lambda: loss)
    pretend_cuda.native.clear()
    made.step(lambda: loss)
    counts = pretend_cuda.native.counts()["launches"]
    made.settle()
    return sum(counts.values())


@pytest.mark.parametrize("engine", named(["flat", "deferred", "pair"], ["flat", "pair"]))
def test_a_step_of_the_embedded_model(engine):
    """Of 106 tensors; on `flat`, which `auto` takes for all weights, they are displaced together too."""
    loaded = plugins().model("embedded")(dtype="float32", device="cuda")
    assert launched(loaded, engine) <= MOST[engine]
