"""Mixtures of experts: adapters on one block, then other cells, which find the model as it was loaded."""

from __future__ import annotations

import pytest
import torch
from kits.run_kit import TOKENIZER, World, numbers, run

from zobench.errors import ZobenchError


def save_moe(kind, folder):
    from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedTokenizerFast, Qwen2MoeConfig

    torch.manual_seed(0)
    shape = dict(vocab_size=512, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2)
    shape |= dict(num_key_value_heads=1, max_position_embeddings=128, initializer_range=0.2)
    special = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    experts = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=8, shared_expert_intermediate_size=8)
    if kind == "mixtral":
        config = MixtralConfig(**shape, **special, num_local_experts=3)
    else:
        config = Qwen2MoeConfig(**shape, **special, **experts)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokens = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
    PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), **tokens).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["mixtral", "qwen2_moe"])
def experts(request, tmp_path_factory, world):
    return World(save_moe(request.param, tmp_path_factory.mktemp(request.param)), world.data)


def test_cells_after_adapters_are_those_of_a_fresh_process_record_for_record(experts, tmp_path):
    both = run(experts, tmp_path / "both", ["lora_zo", "mezo"], ["layer:1", "all"], lrs=(1e-2,))
    (alone,) = run(experts, tmp_path / "alone", ["mezo"], ["all"], lrs=(1e-2,))
    found = {(r["cell"]["estimator"], r["cell"]["selector"]): r for r in both}
    assert all(r["status"] == "ok" for r in both), [r["error"] for r in both]
    assert numbers(found["mezo", "all"]) == numbers(alone)
    lora = found["lora_zo", "layer:1"]["scope"]
    assert lora["tensors"] == 4 and lora["layers"] == [1]


def test_adapters_then_quantised_weights(experts, tmp_path):
    lora, scales = run(experts, tmp_path / "both", ["lora_zo", "qzo"], ["layer:1"])
    assert lora["status"] == scales["status"] == "ok", (lora["error"], scales["error"])
    (alone,) = run(experts, tmp_path / "alone", ["qzo"], ["layer:1"])
    assert numbers(scales) == numbers(alone)


def test_experts_as_targets_are_refused_before_anything_runs(experts, tmp_path):
    with pytest.raises(ZobenchError, match="leave up_proj out of targets"):
        run(experts, tmp_path, ["lora_zo"], lora_zo__targets="q_proj,up_proj")
