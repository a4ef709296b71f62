"""A parameterisation is one class and one entry: runs, plans, records and replays take it as they take ours."""

from __future__ import annotations

import pytest
from kits.run_kit import World, run, save_data, save_model

from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.parameterisations import PARAMETERISATIONS
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from
from zobench.run.replay import rebuild
from zobench.scopes.scope import Scope


class Gains:
    """Of the scope the vectors alone: the gains of norms."""

    def __init__(self, model, scope, seed=0):
        self.scope = Scope([(n, p) for n, p in scope.named if p.ndim == 1], layers=scope.layers)

    def detach(self):
        """Nothing was attached."""


def test_a_class_and_an_entry(tmp_path, monkeypatch):
    world = World(save_model(tmp_path / "model"), save_data(tmp_path / "data"))
    with pytest.raises(
        ZobenchError, match="unknown parameterisation 'gain'; known: estimator, full, lora, prefix, prompt, scal"
    ):
        computation_from({"parameterisation": "gain"})
    monkeypatch.setitem(PARAMETERISATIONS, "gains", Gains)
    (record,) = run(world, tmp_path / "r", ["mezo"], parameterisation="gains", engine="flat", speed_steps=0)
    assert record["status"] == "ok", record["error"]
    assert record["engine"]["parameterisation"] == "gains"
    loaded = load_model(str(world.model), device="cpu", offline=True)
    before = {n: p.detach().clone() for n, p in loaded.model.named_parameters() if p.ndim == 1}
    assert record["scope"]["parameters"] == sum(p.numel() for p in before.values())
    moved = rebuild(record, tmp_path / "r", loaded, load_plugins())
    assert moved.keys() == before.keys() and not any(moved[n].equal(before[n]) for n in before)
