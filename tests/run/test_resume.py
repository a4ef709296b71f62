"""A cell that was stopped at any moment goes on to the numbers of one that never was."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.matrix import named
from kits.run_kit import numbers, run
from kits.stopped import Kills

from zobench.engine import ENGINES
from zobench.report import running, store
from zobench.run import journal

OFFICIAL = {"official": {"noise": "official"}}
CELLS = {
    "mezo": ("mezo", "all", {}),
    "mezo, deferred, one stream": ("mezo", "layer:1", {"engine": "deferred", "noise": "official"}),
    "mezo, official": ("mezo", "all", {"engine": "official", "noise": "official"}),
    "lozo, float32 masters": ("lozo", "all", {"engine": "deferred", "precision": "float32", "dtype": "bfloat16"}),
    "adamezo, streamed": ("adamezo", "layer:1", {"engine": "streamed"}),
    "helene, arithmetic": ("helene", "all", {"engine": "flat", "restore": "arithmetic"}),
    "mezo_svrg, further batches": ("mezo_svrg", "layer:1", {"mezo_svrg__q": 3, "mezo_svrg__anchor": 2}),
    "zo_adam, a scope that changes": ("zo_adam", "lisa", {}),
    "mezo, masks": ("mezo", "outlier_channels", {"outlier_channels__ratio": 1.5}),
    "lora_zo": ("lora_zo", "all", {"engine": "pair"}),
    "adamw, true gradients": ("adamw", "all", {}),
    "agzo, activations": ("agzo", "layer:1", {"engine": "deferred"}),
    "grzo, each example": ("grzo", "layer:1", {}),
    "forwards as a budget": ("fzoo", "layer:1", {"train_forwards": 120, "lr_schedule": "linear"}),
    "a transformed model": ("mezo", "layer:2", {"transform": "plant:1:3:20+clamp:0:5:0.25", "engine": "flat"}),
    "probes": ("mezo", "exhaustive_sweep", {"exhaustive_sweep__steps": 4}),
    **{
        f"zo_adam on {engine}": ("zo_adam", "layer:1", {"engine": engine, **OFFICIAL.get(engine, {})})
        for engine in ENGINES
    },
}
OF_THEIR_OWN = (
    "mezo, deferred, one stream",
    "lozo, float32 masters",
    "mezo_svrg, further batches",
    "zo_adam, a scope that changes",
    "adamw, true gradients",
    "forwards as a budget",
    "probes",
)
"""A stream of noise, masters, batches, state with a schedule, snapshots, a budget, runs before the run."""
STEPS = {"steps": 9, "eval_every": 4, "lrs": (1e-3, 1e-2)}
EVERY = {"mezo": 5, "mezo, deferred, one stream": 5, "forwards as a budget": 8, "probes": 8}
"""Steps from kill to kill; of the other cells by turns 7 and 8, once within each of the two rates."""


def same_files(one: Path, other: Path, record) -> None:
    """What lies beside two records is the same, byte for byte, and the folder where cells run is gone."""
    for kind in ("steps", "replay", "weights"):
        a, b = (getattr(store.files(folder, record), kind) for folder in (one, other))
        assert a.is_file() == b.is_file()
        assert not a.is_file() or a.read_bytes() == b.read_bytes(), kind
    assert not (other / running.FOLDER).exists()
    assert not list((other / "cells").glob(".*"))


@pytest.mark.parametrize("name", named(CELLS, OF_THEIR_OWN))
def test_a_run_that_was_killed_goes_on_to_the_same_numbers(world, tmp_path, monkeypatch, name):
    estimator, selector, settings = CELLS[name]
    results = tmp_path / "whole"
    kills = Kills(monkeypatch, results, tmp_path, every=EVERY.get(name, 7 + list(CELLS).index(name) % 2))
    (whole,) = run(world, results, [estimator], [selector], **STEPS, **settings)
    assert whole["status"] == "ok" and "resumed" not in whole
    kills.results = None
    assert len(kills.copies) >= 2
    replays = 0
    for i, copy in enumerate(kills.copies):
        if i % 2:  # in the midst of writing
            (path,) = copy.glob("running/*.journal")
            path.write_bytes(path.read_bytes()[: -7 * i])
        (record,) = run(world, copy, [estimator], [selector], **STEPS, **settings)
        assert numbers(record) == numbers(whole)
        assert record["resumed"]["times"] == 1
        assert record["engine"] == whole["engine"] and set(record["time"]) == set(whole["time"])
        assert record["memory"]["state_bytes"] == whole["memory"]["state_bytes"]
        same_files(results, copy, record)
        replays += record["resumed"]["replayed"]
    assert replays or estimator in ("adamw", "agzo")


def test_a_run_goes_on_from_a_snapshot_taken_at_its_best_checkpoint(world, tmp_path, monkeypatch, capsys):
    """The snapshot holds the checkpoint as the weights that it stands at."""
    told = {"steps": 3, "eval_every": 2, "layer__index": 1}
    kills = Kills(monkeypatch, tmp_path / "whole", tmp_path, every=2)
    (whole,) = run(world, tmp_path / "whole", ["adamw"], ["layer"], **told)
    kills.results = None
    (copy,) = kills.copies
    before = kills.looks
    (record,) = run(world, copy, ["adamw"], ["layer"], **told)
    assert numbers(record) == numbers(whole) and kills.looks == before + 1, "one step is left"


def test_steps_beyond_where_a_process_went_on_are_dropped():
    past = journal.Past()
    said = [{"at": "begin", "run": 0, "key": {}}, *({"at": "steps", "run": 0, "n": n} for n in range(3))]
    said += [{"at": "goes on", "run": 0, "frames": 1, "replayed": 5}, {"at": "steps", "run": 0, "n": 9}]
    for facts in said:
        journal._take(past, dict(facts), b"")
    (run,) = past.runs
    assert [frame.facts["n"] for frame in run.frames] == [0, 9]
    assert (run.segments, past.replayed) == ([1], 5)
    journal._take(past, {"at": "goes on", "run": 0, "frames": 1, "replayed": 2}, b"")
    assert (run.segments, past.replayed) == ([1], 7), "where it goes on twice is one place"


def opened(folder):
    return journal.Journal.open(folder, "cell", {"machine": {}, "rerun": "missing"})[0]


def test_a_journal_goes_on_behind_its_last_whole_frame_and_drops_what_is_another_run(tmp_path):
    first = opened(tmp_path)
    for lr in (1e-3, 1e-2, 1e-1):
        number, found = first.next_run({"lr": lr})
        assert found is None
        first.write("begin", run=number, key={"lr": lr})
    first.close(done=False)
    first.path.write_bytes(first.path.read_bytes()[:-3])  # the third was cut off as it was written
    second = opened(tmp_path)
    assert [run.key["lr"] for run in second.past.runs] == [1e-3, 1e-2]
    second.write("begin", run=2, key={"lr": 5e-2})
    second.close(done=False)
    third = opened(tmp_path)
    assert [run.key["lr"] for run in third.past.runs] == [1e-3, 1e-2, 5e-2] and third.past.resumed == 2
    assert third.next_run({"lr": 1e-3})[1] is not None
    assert third.next_run({"lr": 7e-2}) == (1, None), "another rate: it and what came after it are dropped"
    third.close(done=False)
    assert [run.key["lr"] for run in opened(tmp_path).past.runs] == [1e-3]
