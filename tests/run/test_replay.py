"""The chosen weights of a cell from its replay log, bit for bit, without data and without a forward pass."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from kits.matrix import meeting
from kits.run_kit import built_in, carry_out, plan, plugin_file, run, save_model
from safetensors.torch import load_file

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.estimator.log import LogWriter, load_log
from zobench.models.load import load_model
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Computation
from zobench.report import store
from zobench.report.record import EngineInfo, EngineSettings, Observed
from zobench.run import stages as runner_module
from zobench.run.artefacts import MASK
from zobench.run.computed import engine_info
from zobench.run.replay import _same_device, _same_run, method_of, rebuild

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
    rebuilt, want = rebuild(record, results, loaded, plugins or built_in(None)), best[record["chosen"]["lr"]]
    assert set(rebuilt) == set(want)
    assert all(torch.equal(rebuilt[name], want[name]) for name in want)
    fresh = load_model(str(world.model), dtype=dtype, device="cpu", offline=True).model
    start = dict(fresh.named_parameters())
    assert all(torch.equal(p, start[n]) for n, p in loaded.model.named_parameters())  # and it is put back
    assert any(name not in start or not torch.equal(t, start[name]) for name, t in want.items())  # something moved


def ways(case):
    """What has code of its own in a replay."""
    estimator, settings, _ = case
    kinds = ("precision", "noise", "tensor_order", "weight_decay", "parameterisation", "sparse_mezo__refresh")
    return [estimator, (settings.get("engine"), settings.get("restore")), *(settings.get(kind) for kind in kinds)]


@pytest.mark.parametrize(("estimator", "settings", "kept"), meeting(CASES, ways, ids=str))
def test_rebuilt_weights_are_those_of_the_run(world, tmp_path, best, estimator, settings, kept):
    (record,) = run(world, tmp_path, [estimator], lrs=(1e-2, 3e-3), steps=4, eval_every=2, **settings)
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


def test_weights_that_were_changed_are_not_given(world, tmp_path, capsys):
    (record,) = run(world, tmp_path, ["adamw"], ["layer"], layer__index=1)
    kept, out = tmp_path / "cells" / f"{record['id']}.weights.safetensors", tmp_path / "w.safetensors"
    data = kept.read_bytes()
    kept.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert replay(tmp_path, record["id"], world.model, out) == 2 and not out.exists()
    assert "its SHA-256 differs" in capsys.readouterr().err


def test_weights_over_the_limit_are_not_kept_and_that_is_said(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("zobench.run.journal.FLUSH_S", 0.0)
    (record,) = run(world, tmp_path, ["adamw"], snapshot_limit=10)
    said = [line for line in capsys.readouterr().err.splitlines() if "a stop would lose all" in line]
    assert len(said) == 1 and "snapshot_limit=10" in said[0]
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


# ---- what a log must be


@pytest.fixture(scope="module")
def kept(world, tmp_path_factory):
    """A finished cell of two learning rates, whose log is of the second checkpoint."""
    results = tmp_path_factory.mktemp("kept")
    (record,) = run(world, results, ["mezo"], lrs=(1e-2, 3e-3), steps=6, eval_every=3, engine="flat")
    loaded = load_model(str(world.model), device="cpu", offline=True)
    path = results / "cells" / f"{record['id']}.replay.bin"
    return record, results, loaded, path, path.read_bytes()


@pytest.fixture
def replayed(kept):
    """Rebuild with the log's bytes and the record's values changed; the log is put back."""
    record, results, loaded, path, data = kept

    def again(data=None, **changed):
        if data is not None:
            path.write_bytes(data)
        other = {**record, **{k: {**record[k], **v} for k, v in changed.items()}}
        return rebuild(other, results, loaded, load_plugins())

    yield again
    path.write_bytes(data)


def relogged(data, tmp_path, steps=lambda steps: steps, **facts):
    """The log with other steps and facts, whole."""
    (tmp_path / "was").write_bytes(data)
    log = load_log(tmp_path / "was")
    with LogWriter(tmp_path / "is", facts={**log.facts, **facts} if log.facts else None) as writer:
        writer.write(steps(log.steps))
    return (tmp_path / "is").read_bytes()


def test_a_damaged_log_gives_no_weights(kept, replayed):
    data, messages = kept[-1], set()
    for cut in (8, 20, len(data) // 2, len(data) - 45, len(data) - 44, len(data) - 1):
        with pytest.raises(ZobenchError, match=r"not a whole replay log: .*run the cell .* again") as e:
            replayed(data[:cut])
        messages.add(str(e.value))
    for at in (8, 13, 60, len(data) // 2, len(data) - 50, len(data) - 40, len(data) - 1):
        for bit in (0, 7):
            with pytest.raises(ZobenchError, match=r"not a whole replay log: .*run the cell .* again") as e:
                replayed(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            messages.add(str(e.value))
    assert not any("\n" in m for m in messages)
    assert replayed(data)


def test_a_log_of_other_steps_rates_or_seeds_gives_no_weights(kept, replayed, tmp_path):
    data, chosen = kept[-1], kept[0]["chosen"]
    short = relogged(data, tmp_path, lambda steps: steps[:-1])
    with pytest.raises(ZobenchError, match=rf"holds {chosen['step'] - 1} steps, .* at step {chosen['step']};"):
        replayed(short)
    with pytest.raises(ZobenchError, match="holds 0 steps"):
        replayed(relogged(data, tmp_path, lambda steps: []))
    with pytest.raises(ZobenchError, match=r"not the log of the chosen learning rate: step 0 moved at lr"):
        replayed(data, chosen={**chosen, "lr": 0.5})
    slower = lambda steps: [*steps[:-1], dataclasses.replace(steps[-1], lr=(1e-9,))]  # noqa: E731
    with pytest.raises(ZobenchError, match=rf"step {chosen['step'] - 1} moved at lr 1e-09"):
        replayed(relogged(data, tmp_path, slower))
    with pytest.raises(ZobenchError, match="its seed is 0, the record's 7"):
        replayed(data, cell={"seed": 7})
    other = lambda steps: [dataclasses.replace(s, seed=s.seed ^ 1) for s in steps]  # noqa: E731
    with pytest.raises(ZobenchError, match="not its log"):
        replayed(relogged(data, tmp_path, other))


def test_a_log_of_another_engine_or_another_cell_gives_no_weights(kept, replayed, tmp_path):
    data = kept[-1]
    with pytest.raises(ZobenchError, match="its engine is flat, the record's pair; run the cell .* again"):
        replayed(data, engine={"engine": "pair"})
    with pytest.raises(ZobenchError, match="its restore is exact, the record's arithmetic"):
        replayed(data, engine={"restore": "arithmetic"})
    with pytest.raises(ZobenchError, match="its cell is another, the record's sst2-mezo"):
        replayed(relogged(data, tmp_path, cell="another"))
    assert replayed(relogged(data, tmp_path))


@pytest.mark.parametrize(
    ("device", "name"), [("cuda:0", "NVIDIA H200"), ("cuda:0", "cpu"), ("cpu", "another kind"), ("", "cpu")]
)
def test_a_record_of_another_device_is_replayed_there_alone(replayed, device, name):
    with pytest.raises(ZobenchError, match=r"would draw and round otherwise: replay it there") as e:
        replayed(environment={"device": device, "device_name": name})
    assert "\n" not in str(e.value)


def test_of_two_cards_the_noise_says_whether_one_replays_the_other(monkeypatch):
    """A generator draws by multiprocessors, a counter alike everywhere; kernels round otherwise than torch."""
    monkeypatch.setattr("zobench.run.replay.processors", lambda device: 132)
    monkeypatch.setattr("zobench.run.replay.kernels.drawn_by", lambda kind: "triton")
    here = {"device": "cuda:0", "device_name": "H200"}
    monkeypatch.setattr("zobench.run.replay.device_facts", lambda device: here)

    def why_not(name="H200", multiprocessors=132, **engine):
        facts = {"device": "cuda:0", "device_name": name, "multiprocessors": multiprocessors}
        record = {"id": "one", "environment": facts, "engine": {"noise": "per_tensor", **engine}}
        try:
            _same_device(record, SimpleNamespace(device=torch.device("cuda:0")))
        except ZobenchError as e:
            return str(e)
        return ""

    assert why_not() == why_not(multiprocessors=None) == why_not(noise="philox", kernels="triton") == ""
    assert why_not(noise="philox", name="A100", multiprocessors=108) == ""
    assert "(A100)" in why_not(name="A100")
    assert "(H200, of 108 multiprocessors)" in why_not(multiprocessors=108)
    assert "its noise was drawn by torch, and would be by triton here" in why_not(noise="philox", kernels="torch")


def test_weights_that_are_not_those_test_was_read_at_are_refused(kept, replayed, tmp_path):
    data = kept[-1]

    def another_loss(steps):
        return [
            *steps[:-1],
            dataclasses.replace(steps[-1], seen=[v + 1 for v in steps[-1].seen[:1]] + steps[-1].seen[1:]),
        ]

    with pytest.raises(ZobenchError, match="leads to other weights here than test was read at"):
        replayed(relogged(data, tmp_path, another_loss))


def test_the_rates_of_a_schedule_are_compared_too(world, tmp_path):
    loaded = load_model(str(world.model), device="cpu", offline=True)
    for i, budget in enumerate(({}, {"train_forwards": 9})):
        (record,) = run(world, tmp_path / str(i), ["mezo"], steps=6, lr_schedule="linear", **budget)
        assert record["kept"] == LOG and rebuild(record, tmp_path / str(i), loaded, load_plugins())
        path = tmp_path / str(i) / "cells" / f"{record['id']}.replay.bin"
        constant = lambda steps: [dataclasses.replace(s, lr=(5e-4,)) for s in steps]  # noqa: E731
        path.write_bytes(relogged(path.read_bytes(), tmp_path, constant))
        with pytest.raises(ZobenchError, match="not the log of the chosen learning rate"):
            rebuild(record, tmp_path / str(i), loaded, load_plugins())


def test_what_was_observed_is_told_from_what_was_chosen():
    settings = {field.name for field in dataclasses.fields(Computation)}
    assert set(EngineSettings.__annotations__) <= settings
    assert set(EngineInfo.__annotations__) == set(EngineSettings.__annotations__) | set(Observed.__annotations__)
    assert not set(EngineSettings.__annotations__) & set(Observed.__annotations__)


def test_a_replay_is_made_of_what_was_chosen_and_of_nothing_observed(world, tmp_path):
    """So a fact that records come to observe needs no word there."""
    (record,) = run(world, tmp_path, ["mezo"], engine="pair", restore="auto", compile="off", noise="philox")
    plugins = load_plugins()
    info = {**record["engine"], "kernels": "another", "compiled": 3, "rows": "a way of tomorrow", "seen_tomorrow": 1}
    made = method_of({**record, "engine": info}, plugins).computation
    want = {"engine": "pair", "restore": "exact", "noise": "philox", "parameterisation": "full"}
    assert {name: getattr(made, name) for name in want} == want
    before = {**record, "engine": {k: v for k, v in record["engine"].items() if k != "tensor_order"}}
    assert method_of(before, plugins).computation.tensor_order == "model"  # of records from before there were several


def test_what_an_earlier_rate_observed_stands():
    chosen = EngineSettings(
        engine="flat",
        restore="exact",
        precision="native",
        noise="philox",
        parameterisation="full",
        tensor_order="model",
    )
    first = engine_info(chosen, {"kernels": "torch"}, {"rows": "packed", "prefix": None})
    assert list(first) == [*chosen, "kernels", "rows", "prefix"]
    then = engine_info(chosen, {"rows": "shared", "prefix": 2, "points": "together"}, before=first)
    assert then == {**first, "points": "together"} and "points" not in first


def test_a_log_of_a_scope_on_another_gpu_than_the_first_is_that_of_its_run():
    """Of a model that is spread over several."""
    record = {"id": "c", "cell": {"seed": 0}, "chosen": {"lr": 1.0}, "engine": {"name": "flat"}}
    record["environment"] = {"device": "cuda:0", "device_name": "H200"}
    facts = {"cell": "c", "seed": 0, "lr": 1.0, "device_name": "H200", "engine": {"name": "flat"}}
    _same_run(record, SimpleNamespace(facts={**facts, "device": "cuda:1"}), Path("log"), "")
    with pytest.raises(ZobenchError, match="its device is cpu, the record's cuda"):
        _same_run(record, SimpleNamespace(facts={**facts, "device": "cpu"}), Path("log"), "")


def test_masks_that_are_kept_beside_adapters_are_no_weights(world, tmp_path, best):
    settings = {"outlier_channels__index": "1", "lora_zo__targets": "down_proj", "lora_zo__eps": 0.5}
    (record,) = run(world, tmp_path, ["lora_zo"], ["outlier_channels"], **settings)
    kept = load_file(store.files(tmp_path, record).weights)
    assert record["status"] == "ok" and any(name.startswith(MASK) for name in kept)
    assert_rebuilt(record, tmp_path, world, best)
