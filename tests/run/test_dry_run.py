"""What `--dry-run` says that a cell will take, against what its record then says that it took."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kits.matrix import named
from kits.run_kit import QUICK, carry_out, plan

from zobench.cli import main
from zobench.cli.dry_run import show
from zobench.plugins.registry import load_plugins
from zobench.run import device_pace
from zobench.run.estimate import Estimate, cost
from zobench.run.step_passes import forwards

SETTINGS = {
    "speed_steps": 4,
    "speed_warmup": 3,
    "layer__index": 1,
    "first_outlier__rule": "ratio",
    "first_outlier__ratio": "0.01",
    "exhaustive_sweep__steps": 2,
}
CASES = [
    ("mezo", "all", "sst2"),
    ("fzoo", "layer", "sst2"),
    ("hizoo", "layer", "copa"),
    ("lora_zo", "first_outlier", "copa"),
    ("lozo", "exhaustive_sweep", "sst2"),
    ("mezo", "layer", "squad"),
    ("zero_shot", "all", "copa"),
    ("zo_blockwise", "all", "sst2"),
]


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("n_spsa", {}, 8),
        ("n_spsa", {"q": 3}, 6),
        ("fzoo", {"n": 16}, 17),
        ("n_spsa:guided", {"q": 3, "directions.pool": 5}, 3 * (2 + 5)),
        ("agzo", {"looks": "two_sided"}, 3),
        ("zo_blockwise", {}, 2 * 4),
    ],
)
def test_forwards_of_a_step_are_those_of_its_settings(name, settings, count):
    names = ["embed.weight", "layers.0.w", "layers.0.b", "layers.1.w", "norm.weight"]
    assert forwards(load_plugins(only="").estimator(name), settings, names) == count


@pytest.mark.parametrize(("estimator", "selector", "task"), named(CASES, [CASES[i] for i in (0, 3, 4, 5, 6, 7)]))
def test_predicted_forwards_are_those_of_the_record(world, tmp_path, estimator, selector, task):
    own = {k: v for k, v in SETTINGS.items() if "__" not in k or k.startswith(selector)}
    made, place = plan(world, tmp_path, [estimator], [selector], [task], lrs=(1e-3, 1e-4), **own)
    told = cost(made.todo[0], made.session)
    (record,) = carry_out(made, place)
    took = record["forwards"]
    assert record["status"] == "ok"
    assert told.forwards["train"] == took.get("train", 0)
    assert told.forwards.get("speed", 0) == took.get("speed", 0)
    assert told.forwards.get("selection", 0) == took.get("calibration", 0) + took.get("probe", 0)
    if task == "squad":  # at most: an answer may stop early
        assert 0 < took["eval"] <= told.forwards["eval"]
    else:
        assert told.forwards["eval"] == took["eval"]
    assert told.seconds > 0


def test_it_shows_the_cells_and_makes_nothing(world, tmp_path, capsys):
    results = tmp_path / "r"
    line = ["run", "--dry-run", "-e", "zero_shot,mezo", "-s", "all,layer", "-t", "sst2,copa", "--seeds", "0,1"]
    line += ["--model", str(world.model), "--data-dir", str(world.data), "--results", str(results), "--device", "cpu"]
    line += [x for key, value in {**QUICK, "layer.index": "1"}.items() for x in ("--set", f"{key}={value}")]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert len([row for row in out.splitlines() if "| mezo" in row]) == 8
    assert len([row for row in out.splitlines() if "| zero_shot" in row]) == 2
    assert "10 cells to run (0 done before)" in out and err == ""
    assert not results.exists()


def test_where_nothing_is_left_to_run_no_device_is_timed(world, tmp_path, capsys, monkeypatch):
    made, place = plan(world, tmp_path, ["mezo"])
    carry_out(made, place)
    monkeypatch.setattr(device_pace, "measured", lambda *_, **__: pytest.fail("it was timed"))
    show(plan(world, tmp_path, ["mezo"])[0], None)
    assert "0 cells to run (1 done before)" in capsys.readouterr().out


def test_each_learning_rate_takes_its_time(world, tmp_path):
    (cell,) = plan(world, tmp_path, ["mezo"], lrs=(1e-3,))[0].todo
    made, _ = plan(world, tmp_path, ["mezo"], lrs=(1e-3,))
    estimate = Estimate(made.session)
    one, three = estimate.of(cell), estimate.of(replace(cell, lrs=(1e-3, 1e-4, 1e-5)))
    steps = cell.protocol.steps * one.step_s
    assert three.forwards["train"] == 3 * one.forwards["train"] and three.step_s == one.step_s > 0
    assert three.seconds - one.seconds >= 2 * steps


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({"engine": "flat", "restore": "arithmetic"}, ("flat", "arithmetic")),
        ({"engine": "flat", "restore": "exact"}, ("flat", "exact")),
        ({"engine": "flat"}, ("flat", "exact")),
    ],
)
def test_the_estimate_is_of_the_engine_and_the_restore_that_are_asked_for(world, tmp_path, asked, chosen):
    made, _ = plan(world, tmp_path, ["mezo"], **asked)
    pace = device_pace.Pace("x", 1.0, 0.0, {}, memory=2**40)
    assert Estimate(made.session, pace)._engine(made.todo[0], 1000) == chosen
