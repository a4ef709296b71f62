"""Exported weights: what from_pretrained and peft load gives the very test predictions of the record."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from kits.families import model_of
from kits.matrix import first_of_each, named
from kits.run_kit import World, assert_untouched, plan, run
from kits.tiny_models import tiny
from transformers import AutoModelForCausalLM, AutoTokenizer

from zobench import Scope
from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.parameterisations import attach
from zobench.plugins.registry import load_plugins
from zobench.run import export_prefix
from zobench.run.export import ADAPTER, _save_lora, export
from zobench.run.outcome import info
from zobench.run.replay import rebuild, scope_of


def exported(world, record, results, out):
    loaded = load_model(str(world.model), dtype=record["cell"]["run_settings"]["dtype"], device="cpu", offline=True)
    names = export(record, results, loaded, load_plugins(), out)
    assert_untouched(loaded, world)
    return names


MASKED_LORA = {"outlier_channels__index": "1", "lora_zo__targets": "down_proj", "lora_zo__eps": 0.5}

WHOLE = [
    ("mezo", "all", {}),
    ("mezo", "layer", {"layer__index": "1"}),
    ("mezo", "all", {"dtype": "bfloat16"}),
    ("zo_adam", "first_outlier", {"first_outlier__ratio": 0.001}),
    ("qzo", "all", {"qzo__bits": 4, "qzo__group": 8}),
    ("qzo", "layer:1", {"qzo__bits": 4, "qzo__group": 8}),
    ("mezo", "layer:1", {"parameterisation": "scales"}),
    ("adamw", "layer", {"layer__index": "2"}),
    ("mezo", "layer:0+layer:2", {}),
    ("mezo", "small_weights", {}),  # masks that change with the step
    ("sparse_mezo", "all", {}),  # masks of the estimator's own
    ("mezo", "outlier_channels", {"outlier_channels__index": "1"}),  # masks that stay
    ("mezo", "round_robin", {}),  # another block each step
    ("lora_zo", "outlier_channels", MASKED_LORA),  # added up
]


@pytest.mark.parametrize(
    ("estimator", "selector", "settings"), named(WHOLE, [WHOLE[i] for i in (2, 5, 6, 10, 13)]), ids=str
)
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
    first_of_each(
        [("lora_zo", {"lora_zo__r": 2, "lora_zo__alpha": 4}), ("mezo", {"parameterisation": "lora"})], lambda _: "lora"
    ),
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
    assert settings.fan_in_fan_out is False


def test_of_gpt2_peft_is_told_that_weights_stand_the_other_way_round(tmp_path):
    """Its layers are Conv1D, whose weights are (in, out)."""
    name = f"transformer.h.0.attn.c_attn.lora_A.{ADAPTER}.weight"
    loaded = SimpleNamespace(model=model_of("gpt2"), name="gpt2")
    method = SimpleNamespace(settings={}, parameterisation="lora", cls=SimpleNamespace(parameterisation="lora"))
    _save_lora(method, loaded, {name: torch.zeros(8, 16)}, tmp_path)
    said = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    assert said["fan_in_fan_out"] is True and said["target_modules"] == ["transformer.h.0.attn.c_attn"]
    assert (said["lora_dropout"], said["bias"], said["inference_mode"]) == (0.0, "none", True)
    assert (said["r"], said["lora_alpha"], said["task_type"]) == (8, 16, "CAUSAL_LM")


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


def of_peft(world, folder, **settings):
    """The model that peft loads, and the task that it is scored on, a row at a time."""
    from peft import PeftModel

    made, _ = plan(world, folder.parent / "plan", ["zero_shot"], rows="replicated", score_batch_size="1", **settings)
    (cell,) = made.todo
    prepared, _ = made.session.prepared("sst2", cell.protocol, cell.computation.rows)
    base = AutoModelForCausalLM.from_pretrained(world.model, dtype=torch.float32).eval()
    return PeftModel.from_pretrained(base, folder).eval(), prepared


@pytest.mark.parametrize(
    ("estimator", "settings"),
    first_of_each(
        [("prefix_zo", {"prefix_zo__num_prefix": 3}), ("mezo", {"parameterisation": "prefix"})], lambda _: "prefix"
    ),
    ids=str,
)
def test_peft_gives_the_predictions_of_a_prefix(world, tmp_path, estimator, settings):
    (record,) = run(world, tmp_path / "r", [estimator], lrs=(3e-1,), steps=8, **settings)
    assert record["status"] == "ok" and record["chosen"]["step"] > 0, record["error"]
    names = exported(world, record, tmp_path / "r", tmp_path / "out")
    assert set(names) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert "position_ids" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    tuned, prepared = of_peft(world, tmp_path / "out")
    assert tuned.peft_config["default"].num_virtual_tokens == (3 if estimator == "prefix_zo" else 5)
    with torch.no_grad():
        score = info(prepared.test_score(tuned))
        untouched = info(prepared.test_score(tuned.get_base_model()))
    assert score["items"] == record["metrics"]["test"]["items"]
    assert untouched["items"] == record["metrics"]["zero_shot"]["items"]


def test_peft_gives_the_logits_of_a_prefix_padded_or_not(world, tmp_path):
    (record,) = run(world, tmp_path / "r", ["prefix_zo"], lrs=(1e0,), steps=8)
    exported(world, record, tmp_path / "r", tmp_path / "out")
    loaded = load_model(str(world.model), device="cpu", offline=True)
    ids = export_prefix.text_for(loaded)
    weights = rebuild(record, tmp_path / "r", loaded, load_plugins())
    put = attach("prefix", loaded.model, scope_of(record, loaded))
    with torch.no_grad():
        for name, p in put.scope.named:
            p.copy_(weights[name])
        want = loaded.model(input_ids=ids, use_cache=False).logits
    put.detach()
    tuned, _ = of_peft(world, tmp_path / "out")
    mask = torch.ones(1, ids.shape[1] + 4, dtype=torch.long)
    mask[:, :4] = 0
    padded = torch.cat((ids[:, :4], ids), 1)
    with torch.no_grad():
        alone = tuned(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        beside = tuned(input_ids=padded, attention_mask=mask, position_ids=places).logits[:, 4:]
        assert float((loaded.model(input_ids=ids).logits - want).abs().max()) > 1e-2, "the prefix says something"
    assert float((alone - want).abs().max()) < 1e-4 and float((beside - want).abs().max()) < 1e-4


def test_peft_gives_the_predictions_of_a_prompt(world, tmp_path):
    (record,) = run(world, tmp_path / "r", ["prompt_zo"], lrs=(3e-1,), steps=8, num_virtual_tokens=4)
    assert record["status"] == "ok" and record["chosen"]["step"] > 0, record["error"]
    names = exported(world, record, tmp_path / "r", tmp_path / "out")
    assert set(names) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert "padded on the right" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    tuned, _ = of_peft(world, tmp_path / "out")
    assert tuned.peft_config["default"].num_virtual_tokens == 4
    loaded = load_model(str(world.model), device="cpu", offline=True)
    ids, weights = export_prefix.text_for(loaded), rebuild(record, tmp_path / "r", loaded, load_plugins())
    put = attach("prompt", loaded.model, scope_of(record, loaded), settings={"num_virtual_tokens": 4})
    with torch.no_grad():
        ((name, p),) = put.scope.named
        p.copy_(weights[name])
        want = loaded.model(input_ids=ids, use_cache=False).logits
        put.detach()
        got = tuned(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -ids.shape[1] :]
        assert float((loaded.model(input_ids=ids).logits - want).abs().max()) > 1e-2, "the prompt says something"
    assert float((got - want).abs().max()) < 1e-4


FAMILIES = ["llama", "mistral", "qwen3", "gemma", "phi", "gpt_neox", "opt", "gpt2"]


@pytest.mark.parametrize("family", named(FAMILIES, ["llama", "gpt_neox", "opt"]))
def test_a_prefix_is_peft_s_where_the_model_sees_differences_of_places_alone(family):
    loaded = tiny(family)
    model = loaded.model
    put = attach("prefix", model, Scope(list(model.named_parameters())), settings={"num_prefix": 3})
    tensors = {n: p.detach().clone() for n, p in put.scope.named}
    with torch.no_grad():
        want = model(input_ids=export_prefix.text_for(loaded), use_cache=False).logits
    put.detach()
    prefix = export_prefix.held(model, tensors)
    with torch.no_grad():
        forms = [export_prefix._gives(loaded, one, want) for one in export_prefix._forms(model, prefix)]
    assert forms == ([False] if family in ("opt", "gpt2") else [True, False]), "turned, and as it is"
    if forms[0]:
        right, largest = export_prefix._forms(model, prefix)[0], want.abs().max()
        with torch.no_grad():
            assert [export_prefix._gives(loaded, right, want + off * largest) for off in (9e-5, 1.2e-4)] == [
                True,
                False,
            ]


def test_what_cannot_be_exported_says_why(world, tmp_path, capsys):
    (prefix,) = run(world, tmp_path / "r", ["mezo"], ["layer:1"], parameterisation="prefix")
    with pytest.raises(ZobenchError, match="trained a prefix: its prefix stands in 1 of 3 blocks, and peft's must"):
        exported(world, prefix, tmp_path / "r", tmp_path / "out")
    (untouched,) = run(world, tmp_path / "r", ["zero_shot"])
    with pytest.raises(ZobenchError, match="there are no chosen weights: it trains nothing"):
        exported(world, untouched, tmp_path / "r", tmp_path / "out")
    assert not (tmp_path / "out").exists() and [p.name for p in tmp_path.iterdir()] == ["r"]
    assert main(["export", "nothing", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "x")]) == 2
