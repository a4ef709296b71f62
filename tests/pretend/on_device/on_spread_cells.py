"""Whole cells of a model that is loaded over two GPUs, as it is where neither has the room: selected, trained, scored,
generated, timed, and replayed.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from kits.run_kit import PROTOCOL, QUICK
from pretend_kit import plugins, world
from rich.console import Console

from zobench.models import load
from zobench.models.placement import Placement
from zobench.report.record import Record
from zobench.run.artefacts import REPLAY
from zobench.run.place import Place
from zobench.run.plan import make_plan
from zobench.run.progress import Progress
from zobench.run.replay import rebuild
from zobench.run.session import Session
from zobench.run.whole_run import execute
from zobench.run.wish import Wish

SELECTORS = ("max_jump", "sensitivity")


def ran(results: Path, device: str) -> tuple[Session, list[Record]]:
    said = {f"protocol.{key}" if key in PROTOCOL else key: value for key, value in QUICK.items()} | {"speed_steps": "1"}
    wish = Wish(("zero_shot", "mezo"), SELECTORS, ("sst2", "squad"), (0,), "small", (1e-3,), said)
    made = make_plan(wish, Place(str(world().model), world().data, results, device, True), plugins())
    records = execute(made, Place(str(world().model), world().data, results, device, True),
                      Progress(made.session.plugins, len(made.todo), Console(file=io.StringIO())))  # fmt: skip
    return made.run_cell.session, records


@pytest.fixture
def two(monkeypatch):
    """Two GPUs, over which transformers spreads the blocks."""
    model = load.load_model(str(world().model), device="cpu", offline=True).model
    need = sum(p.numel() * p.element_size() for p in model.parameters())
    place = Placement("cuda:0", {0: need, 1: 4 * need})
    monkeypatch.setattr(load, "placement", lambda spec, device, *_: place if device != "cpu" else Placement("cpu"))


def test_cells_are_those_of_the_cpu(two, tmp_path):
    session, there = ran(tmp_path / "there", "cuda")
    _, here = ran(tmp_path / "here", "cpu")
    assert session.loaded.devices == [torch.device("cuda:0"), torch.device("cuda:1")]
    assert len({p.device for block in session.loaded.blocks for _, p in block.module.named_parameters()}) == 2
    assert [r["status"] for r in there] == ["ok"] * len(there), [r["error"] for r in there]
    for a, b in zip(there, here, strict=True):
        names = ("task", "estimator", "selector")
        assert [a["cell"][n] for n in names] == [b["cell"][n] for n in names]
        assert a["metrics"]["zero_shot"]["items"] == b["metrics"]["zero_shot"]["items"]
        assert a["forwards"].keys() == b["forwards"].keys() and ("speed" in a) == ("speed" in b)
        if a["cell"]["selector"] != "sensitivity":  # which looks along noise, and that of a GPU is another
            assert a["scope"] == b["scope"]
    for one in there:
        if one.get("kept") == REPLAY:
            weights = rebuild(one, tmp_path / "there", session.loaded, session.plugins)
            assert weights and all(bool(t.isfinite().all()) for t in weights.values())
    assert sum(one.get("kept") == REPLAY for one in there) == 2 * len(SELECTORS)
