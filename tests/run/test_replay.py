"""The chosen weights of a cell from its replay log, bit for bit, without data and without a forward pass."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch
from run_kit import carry_out, plan, plugin_file, run, save_model
from safetensors.torch import load_file

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.plugins import load_plugins
from zobench.report.record import EngineInfo
from zobench.run import runner as runner_module
from zobench.run.protocol import Computation
from zobench.run.replay import FOUND_OUT, rebuild

LOG, WEIGHTS = "replay log", "weights"
CASES = [
    ("mezo", {"engine": "flat", "restore": "exact"}, LOG),
    ("mezo", {"engine": "flat", "restore": "arithmetic"}, LOG),
    ("mezo", {"engine": "flat", "restore": "arithmetic", "dtype": "bfloat16"}, LOG),
    ("mezo", {"engine": "flat", "precision": "float32", "dtype": "bfloat16"}, LOG),
    ("mezo", {"engine": "pair"}, LOG),
    ("mezo", {"engine": "pair", "precision": "float32", "dtype": "float16"}, LOG),
    ("mezo", {"engine": "deferred", "restore": "arithmetic", "dtype": "bfloat16"}, LOG),
    ("mezo", {"engine": "official", "noise": "official"}, LOG),
    ("mezo", {"engine": "official", "noise": "official", "dtype": "float16", "tensor_order": "transformers-4"}, LOG),
    ("mezo", {"noise": "philox"}, LOG),
    ("mezo", {"noise": "philox", "engine": "deferred", "restore": "arithmetic", "dtype": "bfloat16"}, LOG),
    ("mezo", {"weight_decay": 0.1, "lr_schedule": "linear"}, LOG),
    ("mezo", {"parameterisation": "lora"}, LOG),
    ("lora_zo", {"lora_zo__r": 2}, LOG),
    ("sparse_mezo", {}, LOG),
    ("sparse_mezo", {"sparse_mezo__refresh": "never"}, LOG),
    ("hizoo", {"hizoo__alpha": 1e-2}, LOG),
    ("zo_adam", {}, LOG),
    ("fzoo", {"fzoo__n": 3}, LOG),
    ("lozo", {"lozo__nu": 3}, LOG),
    ("adamw", {}, WEIGHTS),
]


@pytest.fixture
def best(monkeypatch):
    """What each training run kept as its best, by learning rate."""
    kept = {}
    original = runner_module.train

    def spied(*args, **options):
        out = original(*args, **options)
        kept[out.lr] = {name: t.clone() for name, t in out.best.items()}
        return out

    monkeypatch.setattr(runner_module, "train", spied)
    return kept


def assert_rebuilt(record, results, world, best, plugins=None):
    dtype = record["cell"]["run_settings"]["dtype"]
    loaded = load_model(str(world.model), dtype=dtype, device="cpu", offline=True)
    loaded.model.forward = None  # nothing may be looked at
    rebuilt, want = rebuild(record, results, loaded, plugins or load_plugins()), best[record["chosen"]["lr"]]
    assert set(rebuilt) == set(want)
    assert all(torch.equal(rebuilt[name], want[name]) for name in want)
    fresh = load_model(str(world.model), dtype=dtype, device="cpu", offline=True).model
    start = dict(fresh.named_parameters())
    assert all(torch.equal(p, start[n]) for n, p in loaded.model.named_parameters())  # and it is put back
    assert any(name not in start or not torch.equal(t, start[name]) for name, t in want.items())  # something moved


@pytest.mark.parametrize(("estimator", "settings", "kept"), CASES, ids=str)
def test_rebuilt_weights_are_those_of_the_run(world, tmp_path, best, estimator, settings, kept):
    (record,) = run(world, tmp_path, [estimator], lrs=(1e-2, 3e-3), steps=6, eval_every=2, **settings)
    assert record["status"] == "ok" and record["kept"] == kept
    assert_rebuilt(record, tmp_path, world, best)


def test_a_checkpoint_before_the_end_is_rebuilt(world, tmp_path, best, monkeypatch):
    from zobench.tasks.prepared import PreparedTask

    original, seen = PreparedTask.dev_loss, []

    def rising(self, model):
        seen.append(1)
        out = original(self, model)
        return type(out)(float(len(seen)), out.forwards)

    monkeypatch.setattr(PreparedTask, "dev_loss", rising)
    (record,) = run(world, tmp_path, ["zo_adam"], ["layer"], layer__index="0,2", steps=6)
    assert record["chosen"]["step"] == 2
    assert_rebuilt(record, tmp_path, world, best)


def test_a_masked_scope_keeps_its_weights(world, tmp_path, best):
    source = """
        import torch
        from zobench import Scope, Selector, hookimpl

        class Half(Selector):
            def select(self, context):
                named = list(context.layers(1).named)
                masks = {n: torch.arange(p.numel()).view_as(p) % 2 == 0 for n, p in named}
                return Scope(named, masks=masks, layers=(1,))

        @hookimpl
        def zobench_selectors():
            return {"half": Half}
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (record,) = run(world, tmp_path, ["mezo"], ["half"], plugins=plugins)
    assert record["status"] == "ok" and record["kept"] == "weights"
    assert_rebuilt(record, tmp_path, world, best, plugins)


def test_weights_over_the_limit_are_not_kept_and_that_is_said(world, tmp_path):
    (record,) = run(world, tmp_path, ["adamw"], snapshot_limit=10)
    assert record["kept"].startswith("nothing: ") and "snapshot_limit=10" in record["kept"]
    loaded = load_model(str(world.model), device="cpu", offline=True)
    with pytest.raises(ZobenchError, match="neither .*replay.bin nor .*safetensors lies beside the record"):
        rebuild(record, tmp_path, loaded, load_plugins())


def replay(results, cell, model, out):
    return main(["replay", str(results), cell, "--model", str(model), "--out", str(out), "--device", "cpu"])


def test_the_command_writes_the_weights(world, tmp_path, best, capsys):
    (record,) = run(world, tmp_path, ["mezo"], ["layer"], layer__index=1)
    assert replay(tmp_path, record["id"], world.model, tmp_path / "w.safetensors") == 0
    written = load_file(tmp_path / "w.safetensors")
    want = best[record["chosen"]["lr"]]
    assert set(written) == set(want) and all(torch.equal(written[n], want[n]) for n in want)
    assert f"at step {record['chosen']['step']}" in capsys.readouterr().out


def test_what_cannot_be_replayed_is_one_clear_line(world, tmp_path, capsys):
    results = tmp_path / "r"
    made, place = plan(world, results, ["mezo"])
    (record,) = carry_out(made, place)
    (wild,) = run(world, results, ["mezo"], lrs=(1e60,))
    other, out = save_model(tmp_path / "other", seed=1), tmp_path / "w.safetensors"
    log = results / "cells" / f"{record['id']}.replay.bin"
    capsys.readouterr()

    def refused(message, *, cell=record["id"], model=world.model, folder=results, to=out):
        assert replay(folder, cell, model, to) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1 and err.startswith("zobench: error: ")
        assert not out.exists()

    refused("which is not other at sha256:", model=other)
    refused("the cell is diverged", cell=wild["id"])
    refused(f"unknown cell '{record['id'][:-1]}'; did you mean '{record['id']}'", cell=record["id"][:-1])
    refused("no results folder", folder=tmp_path / "none")
    refused("name a file in a folder that is there", to=tmp_path / "none" / "w.safetensors")
    refused("no such folder", model=tmp_path / "none")
    log.write_bytes(b"no log")
    refused(log.name)
    os.remove(log)
    refused(f"neither {log.name} nor")
    (results / "cells" / f"{record['id']}.json").write_text("{")
    refused("not JSON")


def test_what_engines_found_out_is_told_from_settings():
    settings = {field.name for field in dataclasses.fields(Computation)}
    assert set(EngineInfo.__annotations__) - settings <= FOUND_OUT
