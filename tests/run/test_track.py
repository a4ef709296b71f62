"""Trackers hear what observers hear; one that fails costs no cell."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from kits.records import record
from kits.run_kit import carry_out, plan

from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run import track


def tracked(world: Any, folder: Path, tracker: str) -> tuple[Any, list[str]]:
    said: list[str] = []
    plugins = load_plugins(warn=said.append)
    plugins.observe(f"--track {tracker}", track.Tracking(tracker, folder))
    made, place = plan(world, folder, ["mezo"], lrs=(1e-3, 1e-2), plugins=plugins)
    (record,) = carry_out(made, place)
    return record, said


class PretendRun:
    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.done = options, [], 0

    def log(self, values: dict[str, float], step: int) -> None:
        assert not self.done
        self.logged.append((step, values))

    def finish(self) -> None:
        self.done += 1


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_of_wandbs_kind_gets_losses_and_final_scores(world, tmp_path, monkeypatch, name):
    runs: list[PretendRun] = []
    pretend = types.SimpleNamespace(init=lambda **options: runs.append(PretendRun(**options)) or runs[-1])
    monkeypatch.setitem(sys.modules, name, pretend)
    record, said = tracked(world, tmp_path, name)
    (run,) = runs
    assert not said and run.done == 1 and run.options["name"] == "sst2-mezo-all-s0"
    assert run.options["project"] == tmp_path.name and run.options["config"]["estimator_settings.eps"] == 1e-3
    values = {key: value for _, one in run.logged for key, value in one.items()}
    assert {"loss/lr=0.001", "loss/lr=0.01", "dev_loss/lr=0.001", "dev_loss/lr=0.01"} < set(values)
    assert values["final/test"] == record["metrics"]["test"]["value"] and values["ok"] == 1.0


def test_a_tracker_that_fails_is_named_once_and_costs_nothing(world, tmp_path, monkeypatch):
    def refuse(**_: Any) -> None:
        raise RuntimeError("no such server")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=refuse))
    record, said = tracked(world, tmp_path, "wandb")
    assert record["status"] == "ok"
    assert said and all("--track wandb" in one and "no such server" in one for one in said) and len(said) <= 3


def test_a_library_that_is_not_there_is_named_with_its_mend(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    record, said = tracked(world, tmp_path, "trackio")
    assert record["status"] == "ok" and "zobench[trackio]" in said[0]


def test_tensorboards_event_files_hold_the_losses(world, tmp_path):
    pytest.importorskip("tensorboard", reason="needs zobench[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    record, said = tracked(world, tmp_path, "tensorboard")
    assert not said
    events = EventAccumulator(str(tmp_path / "tensorboard" / "sst2-mezo-all-s0"))
    events.Reload()
    (final,) = events.Scalars("final/test")
    assert final.value == pytest.approx(record["metrics"]["test"]["value"])
    curve = [(e.step, e.value) for e in events.Scalars("dev_loss/lr=0.01")]
    want = next(t["curve"] for t in record["trials"] if t["lr"] == 0.01)
    assert [s for s, _ in curve] == [s for s, _ in want]
    assert [v for _, v in curve] == pytest.approx([v for _, v in want])


def test_an_unknown_tracker_is_refused(tmp_path):
    with pytest.raises(ZobenchError, match="tensorboard"):
        track.Tracking("tensorbord", tmp_path)


def test_trackios_local_store_holds_the_losses(world, tmp_path, monkeypatch):
    import sqlite3

    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))  # read when it is imported
    pytest.importorskip("trackio", reason="needs zobench[trackio]")
    record, said = tracked(world, tmp_path / "runs", "trackio")
    assert record["status"] == "ok" and not said
    with sqlite3.connect(tmp_path / "store" / "runs.db") as store:
        found = store.execute("select run_name, step, metrics from metrics").fetchall()
    values = {key: value for _, _, text in found for key, value in json.loads(text).items()}
    assert {name for name, _, _ in found} == {"sst2-mezo-all-s0"}
    assert values["final/test"] == record["metrics"]["test"]["value"] and "dev_loss/lr=0.01" in values


def test_what_is_final_stands_at_the_last_step_of_any_rate(tmp_path, monkeypatch):
    run = PretendRun()
    monkeypatch.setitem(track.TRACKERS, "mine", lambda results, name, config: run)
    tracking, one = track.Tracking("mine", tmp_path), record()
    for step, lr in ((40, 1e-3), (10, 1e-2)):
        tracking.zobench_step(one["cell"], step, lr, 0.5)
    tracking.zobench_run_end([one])
    steps = [step for step, _ in run.logged]
    assert steps == [40, 10, 40] and run.done == 1
    said = run.logged[-1][1]
    assert (said["final/speedup"], said["final/lr"], said["final/peak_bytes"]) == (2.0, 1e-3, 3 * 2**20)
