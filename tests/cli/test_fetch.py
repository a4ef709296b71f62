"""`zobench fetch` and `zobench doctor`: what is had, what is missing, and that `--offline` asks no network."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import socket

import pytest
import torch
from kits.run_kit import QUICK, World, save_data, save_model

from zobench import devices, kernels
from zobench.cli import doctor as doctoring
from zobench.cli import main


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return World(save_model(folder / "model"), save_data(folder / "data"))


@pytest.fixture
def no_network(monkeypatch):
    """Every connection is an error of the test."""
    asked = []

    def refused(*args, **_):
        asked.append(args)
        raise OSError("the network is not to be asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return asked


def test_fetched_models_and_data_are_run_without_a_network(world, tmp_path, monkeypatch, capsys, no_network):
    """The hub's functions are stood for by ones that hand out local files, and note what they were asked for."""
    import datasets
    import huggingface_hub

    asked = []

    def snapshot(spec, revision=None, local_files_only=False, **_):
        asked.append((spec, revision, local_files_only))
        return str(world.model)

    def data(name, config, split, revision):
        asked.append((name, revision, datasets.config.HF_HUB_OFFLINE))
        lines = [{"sentence": f"a film {i} ", "label": i % 2} for i in range(40)]
        made = datasets.Dataset.from_list(lines)
        made.info.download_checksums = {f"hf://datasets/{name}@{revision}/x": {}}
        return made

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(datasets, "load_dataset", data)
    assert main(["fetch", "--models", "meta-llama/Llama-2-7b-hf", "--tasks", "sst2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("model meta-llama/Llama-2-7b-hf at ") and "40 items to train on" in out[1]
    pinned = {name: revision for name, revision, _ in asked}
    assert pinned["meta-llama/Llama-2-7b-hf"] == "01c7f73d771dfac7d292323805ebc428287df4f9" and all(pinned.values())
    asked.clear()
    line = ["run", "--offline", "--model", "meta-llama/Llama-2-7b-hf", "-e", "zero_shot", "--tasks", "sst2"]
    line += ["--device", "cpu", "--results", str(tmp_path / "r")]
    assert main([*line, *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}"))]) == 0
    assert asked and all(offline for _, _, offline in asked), "all was asked of the cache alone"
    assert no_network == []


@pytest.fixture
def hub(world, tmp_path, monkeypatch):
    """A hub of one model, which hands out the files that it is asked for, into a cache; and what it handed out."""
    import huggingface_hub

    cache, had = tmp_path / "0123456789abcdef0123456789abcdef01234567", []

    def snapshot(spec, *, local_files_only, allow_patterns, ignore_patterns, **_):
        wanted = dict(allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        for path in () if local_files_only else world.model.iterdir():
            if list(huggingface_hub.utils.filter_repo_objects([path.name], **wanted)):
                had.append(path.name)
                cache.mkdir(exist_ok=True)
                shutil.copy(path, cache)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return had


def test_a_dry_run_of_a_model_of_the_hub_downloads_no_weights(world, hub, tmp_path, capsys, no_network):
    line = ["run", "--model", "someone/little", "--data-dir", str(world.data), "-e", "mezo", "--tasks", "sst2"]
    line += ["--device", "cpu", "--results", str(tmp_path / "r"), "--lr", "1e-3"]
    line += [x for k, v in QUICK.items() for x in ("--set", f"{k}={v}")]
    assert main([*line, "--dry-run"]) == 0
    assert "config.json" in hub and "tokenizer.json" in hub and "model.safetensors" not in hub
    assert "mezo" in capsys.readouterr().out
    assert main([*line, "--offline"]) == 2
    assert "no weights (*.safetensors), and --offline was asked for" in capsys.readouterr().err
    assert main(line) == 0 and "model.safetensors" in hub and no_network == []


def test_a_folder_is_run_offline_without_a_network(world, tmp_path, no_network):
    line = [
        "run",
        "--offline",
        "--model",
        str(world.model),
        "--data-dir",
        str(world.data),
        "-e",
        "mezo",
        "--lr",
        "1e-3",
    ]
    line += ["--tasks", "sst2", "--device", "cpu", "--results", str(tmp_path / "r")]
    assert main([*line, *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}"))]) == 0
    assert no_network == []


def test_what_cannot_be_had_is_told_and_the_rest_is_fetched(world, capsys, no_network):
    line = ["fetch", "--offline", "--models", f"{world.model},nobody/nothing-here,embedded", "--tasks", "copa"]
    assert main(line) == 1
    out, err = capsys.readouterr()
    assert [row.split()[1].strip(":") for row in out.splitlines()] == ["model", "embedded"]
    errors = err.splitlines()
    assert len(errors) == 2 and "nobody/nothing-here: is not in the local cache" in errors[0] and "copa" in errors[1]


@pytest.mark.parametrize(("words", "says"), [([], "nothing to fetch"), (["--tasks", "sst3"], "did you mean 'sst2'")])
def test_fetch_needs_names(words, says, capsys):
    assert main(["fetch", *words]) == 2
    assert says in capsys.readouterr().err


def test_the_doctor_says_what_is_there_and_what_is_not(monkeypatch, capsys, no_network):
    real = importlib.metadata.version

    def version(name):
        if name in ("ray", "peft"):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctoring.importlib.metadata, "version", version)
    assert main(["doctor", "--json"]) == 1, "peft is what runs need"
    found = {one["what"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["peft"]["bad"] and found["peft"]["mend"] == "pip install peft"
    assert found["ray"]["mend"] == "for --executor ray: pip install 'zobench[ray]'" and not found["ray"]["bad"]
    assert found["torch"]["found"] == real("torch") and "threads" in found["cpu"]["found"]
    assert found["--device auto"]["found"] in ("cpu", "cuda", "xpu", "mps") and "--engine auto" in found
    assert no_network == []


@pytest.mark.parametrize(
    ("built_for", "driver", "mend"),
    [(None, "/usr/bin/nvidia-smi", True), ("13.0", "/usr/bin/nvidia-smi", False), (None, None, False)],
)
def test_a_torch_that_cannot_see_the_gpu_of_a_driver_is_told_of(monkeypatch, built_for, driver, mend):
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(devices, "count", lambda kind: 0)
    monkeypatch.setattr(doctoring.shutil, "which", lambda name: driver)
    monkeypatch.setattr(doctoring.Path, "exists", lambda self: False)
    (gpus,) = [one for one in doctoring._devices() if one.what == "GPUs"]
    assert (gpus.found, gpus.mend.startswith("a driver is here: install torch for CUDA")) == (
        "none that torch sees",
        mend,
    )


@pytest.mark.parametrize(
    ("best", "why", "found", "mends"),
    [
        ("cuda", None, "noise is drawn where it is added", False),
        ("cuda", "no triton", "noise is drawn by torch: no triton", True),
        ("cpu", "no GPU", "noise is drawn by torch: no GPU", False),
    ],
)
def test_kernels_that_a_gpu_could_have_are_told_how_to_get(monkeypatch, best, why, found, mends):
    monkeypatch.setattr(devices, "best", lambda: best)
    monkeypatch.setattr(kernels, "why_not", lambda device: why)
    said = next(one for one in doctoring._devices() if one.what == "kernels")
    assert (said.found, "zobench[gpu]" in said.mend) == (found, mends)


def test_the_doctor_is_content_with_what_all_runs_need(capsys):
    assert main(["doctor"]) == 0
    assert "hub cache" in capsys.readouterr().out
