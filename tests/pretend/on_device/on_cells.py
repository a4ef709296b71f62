"""Whole cells on a GPU and on a CPU: every selector, scoring, generation, and what a log rebuilds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kits import run_kit
from pretend_kit import plugins, world

from zobench.models.load import load_model
from zobench.run import stages
from zobench.run.replay import rebuild

SELECTORS = [name for name in plugins().names("selectors") if name != "all"]
SIZES = {"num_train": 6, "num_dev": 4, "num_test": 4, "batch_size": 2, "steps": 2, "eval_every": 1}
EASY = {
    "first_outlier": {"ratio": 1.0},
    "outlier_channels": {"ratio": 1.0},
    "emergence_layer": {"growth": 1.1, "direction": 0.1},
    "owlore": {"threshold": 2.0},
}
"""What a random model, which has no outliers, satisfies."""


def of_selector(name: str) -> tuple[str, dict[str, object]]:
    """A selector as it is written, and settings at which it chooses in a random model of three blocks."""
    head = {"all_but": "all_but:layer:1", "layer": "layer:1"}.get(name, name)
    settings = {} if ":" in head else dict(getattr(plugins().selector(head), "exercise", {}))
    return head, {f"{name}__{key}": value for key, value in {**settings, **EASY.get(name, {})}.items()}


def cell(monkeypatch, folder: Path, device: str, selector: str = "all", task: str = "sst2", **settings):
    """MeZO's record of a cell on this device."""
    with monkeypatch.context() as patched:
        place = run_kit.Place
        patched.setattr(run_kit, "Place", lambda *a, **k: replace(place(*a, **k), device=device))
        settings = {"noise": "philox", **SIZES, **settings}
        (record,) = run_kit.run(world(), folder / device, ["mezo"], [selector], [task], **settings)
    return record


def alike(there, here) -> None:
    """Two records of one cell say the same, up to rounding."""
    assert there["status"] == here["status"] == "ok", (there["error"], here["error"])
    assert there["scope"]["names"] == here["scope"]["names"] and there["scope"]["layers"] == here["scope"]["layers"]
    assert there["forwards"] == here["forwards"] and there["id"] == here["id"]
    assert there["metrics"]["test"]["items"] == here["metrics"]["test"]["items"]
    assert there["metrics"]["zero_shot"]["items"] == here["metrics"]["zero_shot"]["items"]
    for ours, theirs in zip(there["trials"], here["trials"], strict=True):
        assert len(ours["curve"]) == SIZES["steps"] / SIZES["eval_every"] == len(theirs["curve"])
        for one, other in zip(ours["curve"], theirs["curve"], strict=True):
            assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("name", SELECTORS)
def test_a_selector_chooses_what_it_chooses_on_a_cpu(monkeypatch, tmp_path, name):
    selector, settings = of_selector(name)
    alike(*(cell(monkeypatch, tmp_path, device, selector=selector, **settings) for device in ("cuda", "cpu")))


HOW = [
    ("sst2", {}),
    ("copa", {"scored_in": "tokens", "engine": "pair"}),
    ("squad", {"engine": "streamed"}),
    ("squad", {"engine": "flat", "restore": "arithmetic", "speed_steps": 1, "speed_warmup": 0}),
]


@pytest.mark.parametrize(("task", "settings"), HOW)
def test_a_cell_is_scored_and_rebuilt_as_on_a_cpu(monkeypatch, tmp_path, task, settings):
    """Test items and dev losses, and of the log the weights that test was read at, bit for bit."""
    kept, train = {}, stages.train

    def spied(*args, **options):
        out = train(*args, **options)
        kept["best"] = {name: t.clone() for name, t in out.best.items()}
        return out

    monkeypatch.setattr(stages, "train", spied)
    here = cell(monkeypatch, tmp_path, "cpu", task=task, **settings)
    there = cell(monkeypatch, tmp_path, "cuda", task=task, **settings)
    alike(there, here)
    assert there["environment"]["device"] == "cuda:0" and there["environment"]["multiprocessors"] == 132
    loaded = load_model(str(world().model), device="cuda", offline=True)
    loaded.model.forward = None  # nothing may be looked at
    rebuilt = rebuild(there, tmp_path / "cuda", loaded, plugins())
    assert set(rebuilt) == set(kept["best"]) and all(t.is_cuda for t in rebuilt.values())
    assert all(torch.equal(t, kept["best"][name].to(t.device)) for name, t in rebuilt.items())
