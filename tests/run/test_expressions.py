"""Sums of selectors in whole runs: names in records, files and boards; settings; replay; faults before all else."""

from __future__ import annotations

import pytest
from kits.run_kit import LAYERS, numbers, plan, run, weights

from zobench import ZobenchError
from zobench.cli import main
from zobench.report import leaderboard, store
from zobench.run.estimate import cost
from zobench.run.replay import rebuild

SUM = "layer:0+layer:2"


def test_a_sum_is_a_selector_like_any_other(world, tmp_path):
    (one,) = run(world, tmp_path, ["mezo"], ["layer:2 + layer:0"])
    (two,) = run(world, tmp_path / "two", ["mezo"], ["layer"], layer__index="0,2")
    assert one["status"] == "ok" and one["cell"]["selector"] == SUM
    assert one["cell"]["selector_settings"] == {"layer:0.index": [0], "layer:2.index": [2]}
    assert one["scope"] == two["scope"] and one["scope"]["layers"] == [0, 2]
    assert one["trials"] == two["trials"] and one["metrics"] == two["metrics"]
    assert store.find(tmp_path, one["id"])["id"] == one["id"] and one["kept"] == "replay log"
    assert one["id"].startswith("sst2-mezo-layer=0+layer=2-s0-"), "a name that any file system takes"


def test_its_weights_are_rebuilt_from_the_log(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], [SUM])
    (record,) = run(world, tmp_path, ["mezo"], [SUM])
    loaded, plugins = made.session.loaded, made.session.plugins
    start, rebuilt = weights(loaded), rebuild(record, tmp_path, loaded, plugins)
    assert {name.split(".")[2] for name in rebuilt} == {"0", "2"}
    assert any(not rebuilt[name].equal(start[name]) for name in rebuilt)


def test_a_board_names_sums_and_tells_their_settings(world, tmp_path):
    for ratio in (0.001, 0.002):
        run(world, tmp_path, ["mezo"], ["first_outlier+layer:0"], first_outlier__ratio=ratio, first_outlier__batches=1)
    run(world, tmp_path, ["mezo"], [SUM, "all_but:layer:1", "lisa:1"])
    records, problems = store.read(tmp_path)
    assert not problems and len(records) == 5
    board = leaderboard.render(records)
    for row in (
        "first_outlier+layer:0 (first_outlier.ratio=0.001)",
        "first_outlier+layer:0 (first_outlier.ratio=0.002)",
        SUM,
        "all_but:layer:1",
        "lisa:1",
    ):
        assert f"| {row} " in board, row
    told = next(r for r in records if r["cell"]["selector"].startswith("first"))
    assert set(told["selection"]) == {"first_outlier"} and told["selection"]["first_outlier"]["rule"] == "plateau"
    assert told["forwards"]["calibration"] == 1


def test_set_reaches_the_parts_of_sums(world, tmp_path):
    made, _ = plan(
        world, tmp_path, ["mezo"], ["first_outlier", "first_outlier+layer:0"], first_outlier__batches=2, batch_size=3
    )
    settings = [c.selector_settings for c in made.todo]
    assert settings[0]["batches"] == settings[1]["first_outlier.batches"] == 2
    made, _ = plan(world, tmp_path, ["mezo"], ["layer", "layer:0", SUM], index=1)
    assert [c.selector_settings for c in made.todo] == [
        {"index": (1,)},
        {"index": (0,)},
        {"layer:0.index": (0,), "layer:2.index": (2,)},
    ]
    made, _ = plan(world, tmp_path, ["mezo"], ["exhaustive_sweep+layer:0"])
    assert made.todo[0].selector_settings["exhaustive_sweep.steps"] == 8, "the preset reaches it too"


def test_a_dry_run_adds_up_what_the_parts_cost(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], ["exhaustive_sweep", "first_outlier", "exhaustive_sweep+first_outlier"])
    selection = [cost(cell, made.session).forwards["selection"] for cell in made.todo]
    assert selection[0] > LAYERS * 8 * 2 and selection[1] == 4 and selection[2] == selection[0] + selection[1]


@pytest.mark.parametrize(
    ("selectors", "settings", "message"),
    [
        (["first_outlier+layr:1"], {}, "unknown selector 'layr'; did you mean 'layer'"),
        (["layer:1", "30"], {}, "decoder blocks are written layer:1+layer:30"),
        (["layer:1"], {"layer__index": 2}, "--set layer.index: selector layer:1 has it in its name"),
        (["layer:1"], {"index": 2}, "--set index: selector layer:1 has it in its name"),
        (["first_outlier+layer:1"], {"first_outlier__rato": 2}, "did you mean 'ratio'"),
        (["first_outlier+layer:1"], {"first_outlyer__ratio": 2}, "did you mean 'first_outlier'"),
        (["first_outlier+layer:1"], {"first_outlier__ratio": -2}, "must be above 0"),
        (["all_but"], {}, "write all_but:first_outlier"),
        (["all_but:frst_outlier"], {}, "did you mean 'first_outlier'"),
        (["max_jump:3"], {}, "max_jump takes no value after a colon"),
    ],
)
def test_faults_come_before_anything_is_loaded(world, tmp_path, monkeypatch, selectors, settings, message):
    monkeypatch.setattr("zobench.run.plan.outlined", lambda *_: pytest.fail("a model was looked at"))
    with pytest.raises(ZobenchError) as e:
        plan(world, tmp_path, ["mezo"], selectors, **settings)
    assert message in str(e.value) and "\n" not in str(e.value)


def test_a_block_the_model_does_not_have_is_refused_before_anything_runs(world, tmp_path):
    with pytest.raises(ZobenchError, match="decoder blocks 0 to 2, not 9"):
        plan(world, tmp_path / "r", ["mezo"], ["first_outlier+layer:9"], first_outlier__ratio=0.001)
    assert not (tmp_path / "r").exists()


def test_schedules_train_and_rest(world, tmp_path):
    """Records of schedules: what may move at all, the turns, weights kept beside the record; the same twice."""
    names = ["random_layers", "round_robin", "lisa", "owlore:uniform", "ist", "lisa+layer:1"]
    first = run(world, tmp_path, ["mezo"], names, ist__updates=2, lisa__every=2)
    again = run(world, tmp_path / "again", ["mezo"], names, ist__updates=2, lisa__every=2)
    assert [r["status"] for r in first] == ["ok"] * 6, [r["error"] for r in first]
    for one, two in zip(first, again, strict=True):
        assert numbers(one) == numbers(two)
        facts = one["selection"].get("lisa", one["selection"])
        assert one["kept"] == "weights" and one["scope"]["layers"] == [0, 1, 2] and len(facts["first_turns"]) == 5
    assert first[0]["scope"]["fraction"] == 1.0 > first[1]["scope"]["fraction"]


def test_show_knows_expressions(capsys):
    assert main(["show", "selector", "first_outlier+layer:30"]) == 0
    out = capsys.readouterr().out
    assert "--set first_outlier.ratio=..." in out and "layer:30.index" in out and "30" in out
    assert "Training batches to look at" in out and "zobench" in out.splitlines()[1]
    assert main(["show", "selector", "all_but"]) == 0 and "Everything but" in capsys.readouterr().out
    assert main(["show", "selector", "layr:3"]) == 2
    assert "did you mean 'layer'" in capsys.readouterr().err
