"""Presets through the whole plan, executors of plugins, and what a record says of its machine."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace

import pytest
import torch
from kits.run_kit import carry_out, numbers, plan, plugin_file, run

from zobench.cli import main
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import YOUNGER, Computation, Protocol
from zobench.run.environment import describe
from zobench.run.memory import PeakMemory
from zobench.run.place import Place
from zobench.run.plan import make_plan
from zobench.run.routing import route
from zobench.run.wish import Wish
from zobench.settings import settings_of

PRESETS = load_plugins(only="").names("presets")


def settings_of_preset(name):
    """What it sets, of selectors too, as they say themselves."""
    plugins = load_plugins(only="")
    classes = {name: plugins.get("selectors", name) for name in plugins.names("selectors")}
    own = {f"{s}.{k}": v for s, cls in classes.items() for k, v in cls.presets.get(name, {}).items()}
    return {**own, **plugins.get("presets", name).settings}


def plan_of(world, tmp_path, preset, selectors, **settings):
    wish = Wish(("mezo", "zero_shot"), tuple(selectors), ("sst2",), (0,), preset, None, settings)
    return make_plan(wish, Place(str(world.model), world.data, tmp_path, "cpu", True), load_plugins()).todo


def planned(world, tmp_path, preset, **settings):
    return {cell.estimator: cell for cell in plan_of(world, tmp_path, preset, ["exhaustive_sweep"], **settings)}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_plans_and_names_only_settings_that_are_there(world, tmp_path, preset):
    cells = planned(world, tmp_path, preset)
    mezo = load_plugins().estimator("mezo")
    assert cells["mezo"].lrs == (mezo.lr_grid if preset == "paper" else mezo.small_lrs)
    assert cells["zero_shot"].lrs == () and cells["zero_shot"].selector == "-"
    places = {**vars(cells["mezo"].protocol), **vars(cells["mezo"].computation)}
    given = settings_of_preset(preset)
    named = {key.partition(".")[0] for key in given if "." in key}
    for cell in plan_of(world, tmp_path, preset, sorted(named)) if named else ():
        places |= {f"{cell.selector}.{k}": v for k, v in cell.selector_settings.items()}
    assert {key: places[key] for key in given} == given and (given != {}) == (preset != "paper")


def test_the_paper_preset_is_the_protocol_as_it_stands(world, tmp_path):
    cell = planned(world, tmp_path, "paper")["mezo"]
    assert cell.protocol == Protocol()
    paper = load_plugins(only="").get("presets", "paper")
    assert (paper.grid, paper.first_order) == ("paper", {"batch_size": 8, "epochs": 5})


MEZOS = {
    "max_length": 2048,
    "max_new_tokens": 50,
    "loss_dtype": "model",
    "train_loss": "task",
    "pad_targets": "keep",
    "scoring": "mean",
    "eval_batch_size": 8,
    "score_batch_size": 1,
    "pad_to_multiple_of": 8,
    "demonstrations": 0,
    "demonstration_sets": "fixed",
    "logits": "option",
    "num_train": 1000,
    "num_dev": None,
    "num_test": 1000,
    "data_seed": 0,
    "batch_size": 16,
    "steps": 10000,
    "eval_every": 2000,
    "train_forwards": 0,
    "train_seconds": 0.0,
    "further_lrs": 0,
    "lr_schedule": "constant",
    "weight_decay": 0.0,
    "transform": "",
}
USUAL = {
    "dtype": "float32",
    "engine": "auto",
    "noise": "per_tensor",
    "restore": "auto",
    "precision": "native",
    "tensor_order": "model",
    "parameterisation": "estimator",
    "rows": "auto",
    "prefix_cache": "auto",
    "compile": "off",
    "cuda_graphs": "off",
    "scored_in": "auto",
    "speed_steps": 30,
    "speed_warmup": 10,
    "snapshot_limit": 1000000000,
}


def test_what_nobody_set_is_as_in_mezos_paper_and_as_records_know_it():
    """A default that changes is another protocol, or other identities of all cells: it is to be changed here too."""
    assert vars(Protocol()) == MEZOS and vars(Computation()) == USUAL


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_set_goes_before_a_preset(world, tmp_path, preset):
    cells = planned(
        world, tmp_path, preset, **{"protocol.steps": "5", "eval_every": "5", "exhaustive_sweep.steps": "3"}
    )
    assert cells["mezo"].protocol.steps == 5 and cells["mezo"].selector_settings["steps"] == 3


@pytest.mark.parametrize("preset", PRESETS)
def test_every_protocol_setting_is_in_the_record(world, tmp_path, preset):
    """Those that came later than the first records stand there where they are not as always."""
    said = planned(world, tmp_path, preset)["mezo"].protocol.record()
    assert set(settings_of(Protocol)) - YOUNGER | {"version"} == set(said)
    others = {"pad_targets": "drop", "train_forwards": 40, "train_seconds": 1.5, "further_lrs": 3}
    others["transform"] = "clamp:0:1:5"
    assert set(others) == YOUNGER
    for name, value in others.items():
        other = planned(world, tmp_path, preset, **{name: value})["mezo"].protocol.record()
        assert set(other) == {*said, name} and other[name] == value


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("model", ["embedded", "embedded_random"])
def test_what_belongs_to_a_model_holds_under_every_preset(preset, model):
    plugins, wish = (
        load_plugins(only=""),
        Wish(("mezo",), ("first_outlier+layer:0", "outlier_channels"), ("sst2",), preset=preset),
    )
    of_sum, of_channels = route(wish, plugins, model).selectors.values()
    assert of_sum["first_outlier.ratio"] == of_channels["ratio"] == 25.0
    elsewhere = route(wish, plugins, "another").selectors.values()
    assert [one.get("ratio", one.get("first_outlier.ratio")) for one in elsewhere] == [None, None]
    said = replace(wish, settings={"first_outlier.ratio": "50"})
    assert route(said, plugins, model).selectors["first_outlier+layer:0"]["first_outlier.ratio"] == 50.0


def test_the_embedded_model_has_its_outlier_block_under_another_preset(tmp_path):
    """The sizes are those of `smoke`, and the bar the model's: it was an error that no block is an outlier."""
    words = "run --estimator mezo --selector first_outlier --tasks sst2 --preset smoke --set speed_steps=0"
    assert main([*words.split(), "--set", "steps=2", "--set", "eval_every=2", "--results", str(tmp_path)]) == 0
    (path,) = (tmp_path / "cells").glob("*.json")
    record = json.loads(path.read_text())
    assert record["cell"]["selector_settings"]["ratio"] == 25.0 and record["scope"]["layers"] == [0]
    assert record["data"]["source"]["nature"] == "synthetic"


def test_an_executor_of_a_plugin_spreads_the_cells(world, tmp_path):
    source = """
        from zobench import hookimpl

        class Backwards:
            def run(self, cells, run_cell):
                for cell in reversed(cells):
                    yield run_cell(cell)

        @hookimpl
        def zobench_executors():
            return {"local2": Backwards}
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    made, place = plan(world, tmp_path / "a", ["zero_shot", "mezo", "adamw"], plugins=plugins)
    records = carry_out(made, replace(place, executor="local2"))
    assert [r["cell"]["estimator"] for r in records] == ["adamw", "mezo", "zero_shot"]
    straight = run(world, tmp_path / "b", ["zero_shot", "mezo", "adamw"])
    assert [numbers(r) for r in reversed(records)] == [numbers(r) for r in straight]


def test_peak_memory_grows_with_what_is_taken():
    memory = PeakMemory([torch.device("cpu")])
    before = memory.peak()
    taken = torch.ones(40_000_000)  # 160 MB
    after = memory.peak()
    assert after - before > 100_000_000 and taken.numel()
    if memory.kind == "resident size of the process":
        del taken
        assert PeakMemory([torch.device("cpu")]).peak() < after


def test_the_environment_says_what_was_run_where():
    facts = describe([torch.device("cpu")])
    assert facts["packages"]["torch"] == importlib.metadata.version("torch")
    assert facts["device"] == "cpu" and facts["threads"] == torch.get_num_threads()
    assert facts["command"] and facts["python"].count(".") == 2


def test_the_command_line_is_in_the_record_from_its_first_word_on(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/zobench", "run", "--lr", "1e-3"])
    assert describe([torch.device("cpu")])["command"] == "zobench run --lr 1e-3"
