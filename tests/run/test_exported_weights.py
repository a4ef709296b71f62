"""Exported weights: what from_pretrained and peft load gives the very test predictions of the record."""

from __future__ import annotations

import pytest
import torch
from kits.run_kit import World, assert_untouched, plan, run
from transformers import AutoModelForCausalLM, AutoTokenizer

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.plugins.registry import load_plugins
from zobench.run.export import export
from zobench.run.outcome import info


def exported(world, record, results, out):
    loaded = load_model(str(world.model), dtype=record["cell"]["run_settings"]["dtype"], device="cpu", offline=True)
    names = export(record, results, loaded, load_plugins(), out)
    assert_untouched(loaded, world)
    return names


WHOLE = [
    ("mezo", "all", {}),
    ("mezo", "layer", {"layer__index": "1"}),
    ("mezo", "all", {"dtype": "bfloat16"}),
    ("zo_adam", "first_outlier", {"first_outlier__ratio": 0.001}),
    ("qzo", "all", {"qzo__bits": 4, "qzo__group": 8}),
    ("adamw", "layer", {"layer__index": "2"}),
]


@pytest.mark.parametrize(("estimator", "selector", "settings"), WHOLE, ids=str)
def test_from_pretrained_gives_the_predictions_of_the_record(world, tmp_path, estimator, selector, settings):
    (record,) = run(world, tmp_path / "r", [estimator], [selector], lrs=(3e-2,), steps=6, **settings)
    assert record["status"] == "ok", record["error"]
    names = exported(world, record, tmp_path / "r", tmp_path / "out")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out") and AutoTokenizer.from_pretrained(tmp_path / "out")
    dtype = record["cell"]["run_settings"]["dtype"]
    (again,) = run(World(tmp_path / "out", world.data), tmp_path / "s", ["zero_shot"], dtype=dtype)
    assert again["metrics"]["test"]["items"] == record["metrics"]["test"]["items"]
    assert again["metrics"]["dev"]["items"] == record["metrics"]["dev"]["items"]
    base = load_model(str(world.model), dtype=dtype, device="cpu", offline=True).model.state_dict()
    tuned = load_model(str(tmp_path / "out"), dtype=dtype, device="cpu", offline=True).model.state_dict()
    assert any(not torch.equal(base[name], tuned[name]) for name in base), "it is another model than it was"


@pytest.mark.parametrize(
    ("estimator", "settings"),
    [("lora_zo", {"lora_zo__r": 2, "lora_zo__alpha": 4}), ("mezo", {"parameterisation": "lora"})],
    ids=str,
)
def test_peft_gives_the_predictions_of_the_record(world, tmp_path, estimator, settings):
    from peft import PeftModel

    (record,) = run(world, tmp_path / "r", [estimator], lrs=(1e-1,), steps=8, **settings)
    assert record["status"] == "ok", record["error"]
    names = exported(world, record, tmp_path / "r", tmp_path / "out")
    assert set(names) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    made, _ = plan(world, tmp_path / "s", ["zero_shot"])
    (cell,) = made.todo
    prepared, _ = made.session.prepared("sst2", cell.protocol, cell.computation.rows)
    base = AutoModelForCausalLM.from_pretrained(world.model, dtype=torch.float32).eval()
    tuned = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    inner = tuned.get_base_model()
    moved = [p for n, p in inner.named_parameters() if "lora_B" in n]
    assert moved and all(p.abs().max() > 0 for p in moved), "adapters were loaded, not made anew"
    with torch.no_grad():
        assert info(prepared.test_score(inner))["items"] == record["metrics"]["test"]["items"]
    settings = tuned.peft_config["default"]
    assert (settings.r, settings.lora_alpha) == ((2, 4) if estimator == "lora_zo" else (8, 16))


def test_a_card_says_what_it_is_and_how_it_was_made(world, tmp_path, capsys):
    (record,) = run(world, tmp_path / "r", ["mezo"], ["layer"], layer__index="1")
    out = tmp_path / "out"
    words = ["export", record["id"], "--results", str(tmp_path / "r"), "--model", str(world.model), "--out", str(out)]
    assert main(words) == 0
    assert "README.md" in capsys.readouterr().out
    said = (out / "README.md").read_text(encoding="utf-8")
    assert said.startswith('---\nbase_model: "model"\nlibrary_name: transformers\n') and record["id"] in said
    assert "tuned on sst2 by mezo / layer" in said and "zobench run --model model --estimator mezo" in said
    assert "decoder blocks 1." in said
    assert main(words) == 2 and "is not an empty folder" in capsys.readouterr().err


def test_what_cannot_be_exported_says_why(world, tmp_path, capsys):
    (prefix,) = run(world, tmp_path / "r", ["mezo"], parameterisation="prefix")
    with pytest.raises(ZobenchError, match="peft counts the places of a text after its prefix"):
        exported(world, prefix, tmp_path / "r", tmp_path / "out")
    assert not (tmp_path / "out").exists() and [p.name for p in tmp_path.iterdir()] == ["r"]
    assert main(["export", "nothing", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "x")]) == 2
