"""Models and tasks of plugins say where the data come from; nothing is taken from the package in silence."""

from __future__ import annotations

import json
import shutil

import pytest
from kits.run_kit import QUICK, carry_out, plan, plugin_file

from zobench import ZobenchError
from zobench.cli import main
from zobench.plugins import declared
from zobench.plugins.registry import load_plugins
from zobench.run.place import Place, data_source, load

MODEL = """
    from zobench import hookimpl

    def lab(*, dtype, device):
        from pathlib import Path
        from zobench import load_model
        loaded = load_model({folder!r}, dtype=dtype, device="cpu", offline=True)
        {more}
        return loaded

    @hookimpl
    def zobench_models():
        return {{"lab-1b": lab}}
"""
TASK = """
name = "mood"
version = 1
title = "Mood: is it good"
kind = "classification"
metric = "accuracy"
train_loss = "classification"
num_dev = 6

[source]
folder = "mine/mood"
fields = ["sentence", "label"]

[template]
prompt = "{{ sentence.strip() }} It was"
candidates = ["bad", "good"]
text = "{{ prompt }} {{ candidate }}"
answer = "label"
"""


def of_lab(world, tmp_path, more="pass"):
    return load_plugins([plugin_file(tmp_path, MODEL.format(folder=str(world.model), more=more))], only="")


@pytest.fixture
def mood(world, tmp_path):
    """A plugin with a task that brings its data in a folder beside its file."""
    shutil.copytree(world.data / "sst2", tmp_path / "mine" / "mood")
    (tmp_path / "mood.toml").write_text(TASK)
    source = """
        from pathlib import Path
        from zobench import hookimpl

        @hookimpl
        def zobench_tasks():
            return {"mood": Path(__file__).with_name("mood.toml")}
    """
    return plugin_file(tmp_path, source)


def test_a_model_of_a_plugin_has_its_data_from_the_hub_unless_it_says_otherwise(world, tmp_path):
    place = Place("lab-1b", device="cpu")
    plugins = of_lab(world, tmp_path)
    hub = load(place, plugins, "float32")
    assert (hub.name, data_source(place, hub, plugins)) == ("lab-1b", "hub")
    own = load(place, of_lab(world, tmp_path, f"loaded.data = Path({str(world.data)!r})"), "float32")
    assert data_source(place, own, plugins) == world.data
    assert data_source(Place("lab-1b", world.model, device="cpu"), own, plugins) == world.model, (
        "a named folder goes before it"
    )
    embedded = load(Place("embedded", device="cpu"), of_lab(world, tmp_path), "float32")
    assert (embedded.name, data_source(Place("embedded"), embedded, plugins).name) == ("embedded", "embedded")


def test_the_record_has_the_registered_name(world, tmp_path, capsys):
    path = plugin_file(tmp_path, MODEL.format(folder=str(world.model), more=f"loaded.data = Path({str(world.data)!r})"))
    words = ["run", "--offline", "--plugin", str(path), "--model", "lab-1b", "--tasks", "sst2", "--estimator", "mezo"]
    words += [
        "--lr",
        "1e-3",
        "--results",
        str(tmp_path / "r"),
        *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}")),
    ]
    assert main(words) == 0
    (record,) = [json.loads(p.read_text()) for p in (tmp_path / "r" / "cells").glob("*.json")]
    assert (record["cell"]["model"], record["cell"]["data"]) == ("lab-1b", "folder")
    assert main(["show", "task", "sst2", "--plugin", str(path), "--model", "lab-1b"]) == 0
    assert "film" in capsys.readouterr().out


def test_the_embedded_data_are_not_taken_for_a_plugins_model(world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = plugin_file(tmp_path, MODEL.format(folder=str(world.model), more="pass"))
    words = ["run", "--offline", "--plugin", str(path), "--model", "lab-1b", "--tasks", "sst2", "--estimator", "mezo"]
    assert main([*words, "--results", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "sst2" in err and "--data-dir" in err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("return None", "its function returned NoneType, not a zobench.LoadedModel"),
        ("return loaded.model", "its function returned LlamaForCausalLM, not a zobench.LoadedModel"),
        ("raise RuntimeError('no key')", "could not be loaded: RuntimeError: no key (plugin_under_test.py:"),
        ("loaded.data = 'cloud'", "its data are 'cloud'; write hub, embedded, or the Path of a folder"),
        ("loaded.data = Path('/nowhere')", "/nowhere: no such folder"),
    ],
)
def test_a_function_that_gives_no_model_is_one_line(world, tmp_path, more, says):
    with pytest.raises(ZobenchError, match="model 'lab-1b' of plugin 'plugin_under_test'") as e:
        load(Place("lab-1b", device="cpu"), of_lab(world, tmp_path, more), "float32")
    assert says in str(e.value) and "\n" not in str(e.value)


def test_a_task_brings_its_own_data(world, tmp_path, mood, capsys):
    plugins = load_plugins([mood], only="")
    made, place = plan(world, tmp_path / "r", ["mezo"], tasks=["mood", "sst2"], plugins=plugins)
    assert {c.task: c.data for c in made.todo} == {"mood": "folder", "sst2": "folder"}, "--data-dir has no such task"
    records = carry_out(made, place)
    assert [r["status"] for r in records] == ["ok", "ok"]
    assert records[0]["data"]["provenance"]["train"]["file"] == "mood/train.jsonl"
    assert main(["show", "task", "mood", "--plugin", str(mood), "--model", "embedded"]) == 0
    shown = capsys.readouterr().out
    assert f"its own, in {tmp_path / 'mine' / 'mood'}" in shown and "film" in shown and "revision" not in shown


def test_with_the_embedded_model_too(tmp_path, mood):
    plugins = load_plugins([mood], only="")
    loaded = load(Place("embedded", device="cpu"), plugins, "float32")
    from zobench.tasks.source import load_pools

    assert load_pools(plugins.task("mood"), declared.where(plugins, loaded.data)).data == "folder"


def test_a_folder_that_has_the_task_goes_before_its_own(world, tmp_path, mood):
    other = tmp_path / "other"
    shutil.copytree(world.data / "sst2", other / "mood")
    with (other / "mood" / "train.jsonl").open("a") as file:
        file.write('{"sentence": "more", "label": 1}\n')
    from zobench.tasks.source import load_pools

    task = load_plugins([mood], only="").task("mood")
    assert len(load_pools(task, other).train) == len(load_pools(task, "hub").train) + 1


def test_what_a_task_without_data_needs_is_said(tmp_path, mood):
    from zobench.tasks.source import load_pools

    task = load_plugins([mood], only="").task("mood")
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(ZobenchError, match=r"task mood: no data in .*mine/mood, which it names as its own"):
        load_pools(task, "hub")
    (tmp_path / "mood.toml").write_text(TASK.replace('folder = "mine/mood"', ""))
    with pytest.raises(
        ZobenchError, match=r"source.id is missing \(a text\); or name the folder of the task's own data"
    ):
        load_plugins([mood], only="").task("mood")
    at_the_hub = 'id = "a/b"\nconfig = "c"\nrevision = "main"\ntrain = "train"\nvalidation = "validation"'
    (tmp_path / "mood.toml").write_text(TASK.replace('folder = "mine/mood"', at_the_hub))
    with pytest.raises(
        ZobenchError, match=r"unknown embedded task 'mood'.*--data-dir DIR \(DIR/mood/train.jsonl.*source.folder"
    ):
        plugins = load_plugins([mood], only="")
        load_pools(plugins.task("mood"), declared.data_source(plugins, "embedded"))
