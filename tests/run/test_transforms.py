"""Cells of a transformed model: trained and scored with it, the same however they are computed, and put back."""

import dataclasses

import pytest
from kits.matrix import covering, named
from kits.run_kit import assert_untouched, carry_out, numbers, plan, plugin_file, run, weights
from safetensors.torch import load_file

from zobench import ZobenchError
from zobench.cli import main
from zobench.engine import ENGINES
from zobench.plugins import transforms
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Protocol
from zobench.run.routing import route
from zobench.run.wish import Wish

SAID = "plant:1:3:20+clamp:0:5:0.25"
LAYER = {"layer__index": 2}


def curve(record):
    return [loss for _, loss in record["trials"][0]["curve"]]


def test_off_it_stands_in_no_record_and_changes_no_identity(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    (cell,) = made.todo
    assert "transform" not in cell.protocol.record() and cell.protocol.transform == ""
    changed, _ = plan(world, tmp_path, ["mezo"], transform="plant:1:3:2")
    assert changed.todo[0].id != cell.id
    assert changed.todo[0].protocol.record() == {**cell.protocol.record(), "transform": "plant:1:3:2"}
    same, _ = plan(world, tmp_path, ["mezo"], transform=" plant:1:3:2.0 ")
    assert same.todo[0].id == changed.todo[0].id, "one form of one transform"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nail:1:2:3", "unknown transform 'nail'"),
        ("clamp:1:2", r"write clamp:BLOCK:CHANNEL:LIMIT"),
        ("clamp:1:2:-3", "limit=-3: must be at least 0"),
        ("clamp:x:2:3", "block=x: not a whole number"),
        ("clamp:3:2:1", "there is no block 3; .* has 3"),
        ("plant:1:16:1", "there is no channel 16; the stream has 16"),
        ("plant:1:2:inf", "must be finite"),
        ("clamp:1:2:1+", "unknown transform ''"),
        ("clamp:1:auto", "write clamp:BLOCK:CHANNEL:LIMIT or clamp:auto"),
        ("plant:auto", "or plant:BLOCK:auto"),
        ("plant:3:auto", "there is no block 3"),
    ],
)
def test_what_the_model_cannot_have_is_refused_before_anything_runs(world, tmp_path, said, why):
    with pytest.raises(ZobenchError, match=why):
        plan(world, tmp_path, ["mezo"], transform=said)


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    """Rows as they are and no cache: what all other ways are held against."""
    results = tmp_path_factory.mktemp("plain")
    settings = {"engine": "official", "noise": "per_tensor", "transform": SAID, "steps": 6, "eval_every": 3}
    return run(world, results, ["mezo"], ["layer"], ["sst2", "squad"], **settings, **LAYER)


@pytest.mark.parametrize("engine", named([name for name in ENGINES if name != "official_fused"], ["official", "pair"]))
def test_every_engine_trains_and_scores_the_transformed_model(world, tmp_path, plain, engine):
    """Packed and cached where the engine knows that; choices and generated answers."""
    settings = {"engine": engine, "noise": "per_tensor", "transform": SAID, "steps": 6, "eval_every": 3}
    found = run(world, tmp_path, ["mezo"], ["layer"], ["sst2", "squad"], **settings, **LAYER)
    for record, want in zip(found, plain, strict=True):
        assert record["status"] == "ok", record["error"]
        if engine != "official":
            assert (record["engine"]["rows"], record["engine"]["prefix"]) == ("packed", 2)
        assert curve(record) == pytest.approx(curve(want), abs=3e-5)
        for part in ("zero_shot", "dev", "test"):
            assert record["metrics"][part]["items"] == want["metrics"][part]["items"]


def test_it_is_another_model_than_the_plain_one(world, tmp_path, plain):
    found = run(world, tmp_path, ["mezo"], ["layer"], ["sst2"], steps=6, eval_every=3, **LAYER)
    assert curve(found[0]) != pytest.approx(curve(plain[0]), abs=4e-4)


@pytest.mark.parametrize(("rows", "cache"), covering(["shared", "packed", "replicated"], ["auto", "off"]))
def test_rows_and_the_prefix_cache_leave_the_numbers(world, tmp_path, plain, rows, cache):
    settings = {"engine": "flat", "rows": rows, "prefix_cache": cache, "transform": SAID, "steps": 6, "eval_every": 3}
    (record,) = run(world, tmp_path, ["mezo"], ["layer"], ["sst2"], **settings, **LAYER)
    assert curve(record) == pytest.approx(curve(plain[0]), abs=3e-5)


@pytest.mark.parametrize("index", [0, 1])
def test_a_transform_above_the_cut_and_at_it(world, tmp_path, index):
    said = {"engine": "flat", "transform": SAID, "steps": 3, "eval_every": 3, "layer__index": index}
    (auto,) = run(world, tmp_path / "auto", ["mezo"], ["layer"], ["sst2"], **said)
    (off,) = run(world, tmp_path / "off", ["mezo"], ["layer"], ["sst2"], prefix_cache="off", **said)
    assert curve(auto) == pytest.approx(curve(off), abs=3e-5)


TRAINED = ["adamw", "lora_zo", "prefix_zo", "prompt_zo", "forward_grad", "agzo"]


@pytest.mark.parametrize("estimator", named(TRAINED, ["adamw", "prefix_zo", "agzo"]))
def test_whatever_trains(world, tmp_path, estimator):
    """True gradients, adapters, a prefix, derivatives along directions, activations: the model is left as it was."""
    made, place = plan(world, tmp_path, [estimator], transform=SAID)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok", record["error"]
    assert_untouched(made.session.loaded, world)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in made.session.loaded.model.modules())


def test_cells_of_several_transforms_do_not_see_each_other(world, tmp_path):
    """One process, one model: the same numbers as in processes of their own."""
    alone = {said: run(world, tmp_path / f"alone{len(said)}", ["mezo"], transform=said)[0] for said in ("", SAID)}
    made, place = plan(world, tmp_path / "both", ["mezo"], transform=SAID)
    other, _ = plan(world, tmp_path / "both", ["mezo"])
    made.todo += other.todo
    made.todo.append(dataclasses.replace(made.todo[0], seed=1))
    found = carry_out(made, place)
    assert numbers(found[0]) == numbers(alone[SAID]) and numbers(found[1]) == numbers(alone[""])


def test_a_log_of_a_transformed_model_replays_and_says_so(world, tmp_path, capsys):
    (record,) = run(world, tmp_path, ["mezo"], steps=4, engine="flat", transform=SAID, snapshot_limit=0)
    out = tmp_path / "w.safetensors"
    assert main(["replay", str(tmp_path), record["id"], "--model", str(world.model), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"trained under transform={SAID}" in said and "without it" in said
    folder = tmp_path / "exported"
    assert (
        main(["export", record["id"], "--results", str(tmp_path), "--model", str(world.model), "--out", str(folder)])
        == 0
    )
    assert f"transform={SAID}" in capsys.readouterr().out + (folder / "README.md").read_text()
    assert f"transform={SAID}" in (folder / "README.md").read_text()
    assert set(load_file(out)) == set(weights_of(world))


def weights_of(world):
    from zobench.models.load import load_model

    return weights(load_model(str(world.model), device="cpu", offline=True))


def test_automatic_forms_are_what_the_record_says_they_became(world, tmp_path, monkeypatch):
    """Equal to the same said in numbers, for all seeds of a task alike; no cell of a model without an outlier."""
    told = {"steps": 3, "eval_every": 3, "engine": "flat", **LAYER}
    (failed,) = run(world, tmp_path / "none", ["mezo"], ["layer"], ["sst2"], transform="clamp:auto", **told)
    assert failed["status"] == "error" and "no outlier block on sst2" in failed["error"]
    monkeypatch.setattr("zobench.run.transforms.bar", lambda plugins, model: {"plateau": 3.0})
    said = "clamp:auto+plant:2:3:1"
    first, second = run(world, tmp_path / "auto", ["mezo"], ["layer"], ["sst2"], seeds=(0, 1), transform=said, **told)
    assert first["protocol"]["transform"] == said and first["transform"] == second["transform"]
    assert first["transform"].startswith("clamp:0:") and first["transform"].endswith("+plant:2:3:1")
    assert first["forwards"]["transform"] == 8
    (same,) = run(world, tmp_path / "said", ["mezo"], ["layer"], ["sst2"], transform=first["transform"], **told)
    assert curve(same) == curve(first) and same["metrics"]["test"] == first["metrics"]["test"]
    assert "transform" not in same and same["id"] != first["id"]
    (high,) = run(world, tmp_path / "high", ["mezo"], ["layer"], ["sst2"], transform="plant:2:auto", **told)
    assert high["status"] == "ok" or "no massive activation stands after block 2" in high["error"]


SILENCE = """
    import torch
    from zobench import Natural, Transform, hookimpl

    class Silence(Transform):
        "A channel that is 0."
        block: Natural = 0
        channel: Natural = 0

        def output(self, stream, first):
            return stream * (torch.arange(stream.shape[-1]) != self.channel)

    class Broken(Transform):
        "It raises."
        block: Natural = 0

        def output(self, stream, first):
            raise ValueError("no stream for you")

    class Nowhere(Transform):
        "It says of no block."
        channel: Natural = 0

    @hookimpl
    def zobench_transforms():
        return {"silence": Silence, "broken": Broken, "nowhere": Nowhere}
"""


def test_a_plugins_transform(world, tmp_path):
    """Its code is in the identity; what it raises is the cell's failure; the next cell runs on the plain model."""
    plugins = load_plugins([plugin_file(tmp_path, SILENCE)])
    made = {
        said: run(world, tmp_path / said[:4], ["mezo"], plugins=plugins, transform=said)[0]
        for said in ("silence:1:3", "clamp:1:3:0", "broken:1")
    }
    assert list(made["silence:1:3"]["cell"]["code"]) == ["plugin_under_test.py"]
    assert "code" not in made["clamp:1:3:0"]["cell"]
    assert curve(made["silence:1:3"]) == curve(made["clamp:1:3:0"]), "a channel within 0 is silent"
    assert made["broken:1"]["status"] == "error" and "no stream for you" in made["broken:1"]["error"]
    with pytest.raises(ZobenchError, match="Nowhere: a transform has a setting `block"):
        plan(world, tmp_path / "n", ["mezo"], plugins=plugins, transform="nowhere:3")


def test_it_is_a_setting_of_the_protocol():
    plugins = load_plugins(only="")
    assert Protocol().transform == ""
    wish = Wish(("mezo",), ("all",), ("sst2",), settings={"transform": "clamp:1:2:3.50"}, preset="small")
    assert route(wish, plugins).protocol.transform == "clamp:1:2:3.5"


def test_the_names_in_what_is_said():
    assert transforms.names("clamp:1:17:5 + plant:4:auto+clamp:auto") == ["clamp", "plant", "clamp"]
    assert transforms.names("clamp") == ["clamp"] and transforms.names("") == []
