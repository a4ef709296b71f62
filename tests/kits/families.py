"""A zoo of tiny causal language models: one of each family that the installed transformers has, with random weights.

Attention windows are as short as rows are long, weights are large enough that a wrong place or a leak shows in the
loss, and every model goes through a folder, as a user's does.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenizer" / "tokenizer_bos.json"
KNOWN = (5, 23)
"""The release of transformers from which on all of them can be made."""
WINDOW = 8
"""Tokens that a windowed model sees."""

_SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "hidden_size": 32,
    "d_model": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "decoder_layers": 3,
    "num_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "sliding_window": WINDOW,
    "attention_chunk_size": WINDOW,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
}
"""Facts of a tiny model, by the names that configs have for them; each config takes those it knows."""

_MLA = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
}
_ROUTED = {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_MAMBA2 = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 4}
_LINEAR = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_ALTERNATING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}


@dataclass(frozen=True)
class Family:
    """How a tiny model of it is made, and what is expected of it."""

    model_type: str
    own: dict[str, Any] = field(default_factory=dict)
    """Facts of its config over the common ones."""
    make: Callable[[], Any] | None = None
    """Makes the config where facts alone do not."""
    causal: bool = True
    """Whether a token sees only those before it. Models that are not are refused."""


def _of(model_type: str, **own: Any) -> Family:
    return Family(model_type, own)


def _bidirectional(model_type: str, **own: Any) -> Family:
    return Family(model_type, {"is_decoder": False, **own}, causal=False)


def _gemma3_with_a_tower() -> Any:
    text = {**_common("gemma3_text"), **_ALTERNATING}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)


FAMILIES: dict[str, Family] = {
    # LLaMA's line: rotary places, RMS norms
    "llama": _of("llama"),
    "llama_tied": _of("llama", tie_word_embeddings=True),
    "mistral": _of("mistral", sliding_window=None),
    "mistral_windowed": _of("mistral"),
    "ministral": _of("ministral", **_ALTERNATING),
    "qwen2": _of("qwen2", sliding_window=None),
    "qwen2_windowed": _of("qwen2", use_sliding_window=True, max_window_layers=1),
    "qwen3": _of("qwen3"),
    "gemma": _of("gemma"),
    "gemma2": _of("gemma2", query_pre_attn_scalar=8),
    "gemma3_text": _of("gemma3_text", **_ALTERNATING),
    "gemma3_tower": Family("gemma3", make=_gemma3_with_a_tower),
    "vaultgemma": _of("vaultgemma"),
    "phi": _of("phi"),
    "phi3": _of("phi3", sliding_window=None),
    "phi3_windowed": _of("phi3"),
    "olmo": _of("olmo"),
    "olmo2": _of("olmo2"),
    "olmo3": _of("olmo3", **_ALTERNATING),
    "stablelm": _of("stablelm"),
    "cohere": _of("cohere", logit_scale=1.0),
    "cohere2": _of("cohere2", logit_scale=1.0, **_ALTERNATING),
    "granite": _of("granite"),
    "starcoder2": _of("starcoder2"),
    "smollm3": _of("smollm3", use_sliding_window=False),
    "exaone4": _of("exaone4", **_ALTERNATING),
    "helium": _of("helium"),
    "glm": _of("glm"),
    "glm4": _of("glm4"),
    "nemotron": _of("nemotron"),
    "persimmon": _of("persimmon"),
    "arcee": _of("arcee"),
    "apertus": _of("apertus"),
    "ernie4_5": _of("ernie4_5"),
    "seed_oss": _of("seed_oss"),
    "hunyuan_dense": _of("hunyuan_v1_dense"),
    "nanochat": _of("nanochat"),
    "bitnet": _of("bitnet"),
    "diffllama": _of("diffllama"),
    "doge": _of("doge"),
    "minicpm3": _of("minicpm3", scale_emb=1, dim_model_base=32, **_MLA),
    "modernbert_decoder": _of("modernbert-decoder", local_attention=WINDOW, **_ALTERNATING),
    # places learnt, rotary or by bias: the earlier line
    "gpt2": _of("gpt2"),
    "gpt_bigcode": _of("gpt_bigcode"),
    "openai_gpt": _of("openai-gpt"),
    "gpt_neo": _of(
        "gpt_neo", num_layers=3, attention_types=[[["global", "local"], 1], [["local"], 1]], window_size=WINDOW
    ),
    "gpt_neox": _of("gpt_neox"),
    "gpt_neox_japanese": _of("gpt_neox_japanese"),
    "gptj": _of("gptj", rotary_dim=8),
    "codegen": _of("codegen", rotary_dim=8),
    "opt": _of("opt", word_embed_proj_dim=32),
    "opt_norm_after": _of("opt", word_embed_proj_dim=16, do_layer_norm_before=False),
    "xglm": _of("xglm", attention_heads=4, num_layers=3),
    "biogpt": _of("biogpt"),
    "bloom": _of("bloom"),
    "mpt": _of("mpt"),
    "falcon": _of("falcon"),
    "falcon_alibi": _of("falcon", alibi=True, multi_query=False, parallel_attn=False, bias=True),
    "falcon_new": _of("falcon", new_decoder_architecture=True, num_kv_heads=2),
    "ctrl": _of("ctrl", dff=48),
    "cpmant": Family("cpmant", {"dim_head": 8, "dim_ff": 48, "prompt_length": 4}, causal=False),
    # mixtures of experts
    "mixtral": _of("mixtral", sliding_window=None),
    "qwen2_moe": _of("qwen2_moe", sliding_window=None),
    "qwen3_moe": _of("qwen3_moe", sliding_window=None),
    "olmoe": _of("olmoe"),
    "granitemoe": _of("granitemoe"),
    "granitemoeshared": _of("granitemoeshared"),
    "phimoe": _of("phimoe", sliding_window=None),
    "gpt_oss": _of("gpt_oss", **_ALTERNATING),
    "deepseek_v2": _of("deepseek_v2", **_MLA, **_ROUTED),
    "deepseek_v3": _of("deepseek_v3", **_MLA, **_ROUTED),
    "llama4_text": _of(
        "llama4_text",
        intermediate_size_mlp=48,
        layer_types=["chunked_attention", "full_attention"] * 2,
        num_hidden_layers=4,
        no_rope_layers=[1, 0, 1, 0],
    ),
    "glm4_moe": _of("glm4_moe", **_ROUTED),
    "hunyuan_moe": _of("hunyuan_v1_moe", moe_topk=[2, 2, 2]),
    "ernie4_5_moe": _of("ernie4_5_moe"),
    "flex_olmo": _of("flex_olmo"),
    "minimax_m2": _of("minimax_m2"),
    "jetmoe": _of("jetmoe", kv_channels=8),
    "afmoe": _of("afmoe", **_ALTERNATING),
    # recurrent, and hybrids
    "mamba": _of("mamba", state_size=8),
    "mamba2": _of("mamba2", num_heads=8, head_dim=8, state_size=8, n_groups=2, chunk_size=4),
    "falcon_mamba": _of("falcon_mamba", state_size=8),
    "rwkv": _of("rwkv"),
    "recurrent_gemma": _of("recurrent_gemma", attention_window_size=WINDOW),
    "jamba": _of("jamba", attn_layer_period=2, attn_layer_offset=1, mamba_d_state=8),
    "bamba": _of("bamba", attn_layer_indices=[1], **_MAMBA2),
    "zamba": _of(
        "zamba",
        layers_block_type=["hybrid", "mamba", "hybrid"],
        attention_head_dim=16,
        num_key_value_heads=4,
        mamba_d_state=8,
    ),
    "zamba2": _of(
        "zamba2",
        layers_block_type=["mamba", "hybrid", "mamba"],
        layer_types=["mamba", "hybrid", "mamba"],
        mamba_d_state=8,
        n_mamba_heads=8,
        chunk_size=4,
        num_key_value_heads=4,
    ),
    "falcon_h1": _of("falcon_h1", mamba_d_ssm=64, **_MAMBA2),
    "granitemoehybrid": _of(
        "granitemoehybrid", layer_types=["mamba", "attention", "mamba"], shared_intermediate_size=48, **_MAMBA2
    ),
    "nemotron_h": _of(
        "nemotron_h",
        layers_block_type=["mamba", "attention", "mlp"],
        mamba_num_heads=8,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=2,
        chunk_size=4,
        sliding_window=None,
    ),
    "qwen3_next": _of("qwen3_next", **_LINEAR),
    "olmo_hybrid": _of("olmo_hybrid", **_LINEAR),
    "lfm2": _of("lfm2", layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False),
    "minimax": _of(
        "minimax", layer_types=["linear_attention", "full_attention"] * 2, num_hidden_layers=4, block_size=4
    ),
    # decoders of models that also have an encoder
    "bart": _of("bart"),
    "mbart": _of("mbart"),
    "pegasus": _of("pegasus"),
    "blenderbot": _of("blenderbot"),
    "marian": _of("marian"),
    "plbart": _of("plbart"),
    "trocr": _of("trocr"),
    "whisper": _of("whisper", max_target_positions=512),
    "prophetnet": Family(
        "prophetnet", {"num_decoder_layers": 3, "num_decoder_attention_heads": 4, "num_encoder_layers": 3}, causal=False
    ),
    "moshi": _of("moshi"),
    # encoders, made decoders by their config
    "bert_decoder": _of("bert"),
    "bert_generation_decoder": _of("bert-generation"),
    "roberta_decoder": _of("roberta"),
    "roberta_prelayernorm_decoder": _of("roberta-prelayernorm"),
    "camembert_decoder": _of("camembert"),
    "roformer_decoder": _of("roformer"),
    "rembert_decoder": _of("rembert", input_embedding_size=16, output_embedding_size=32),
    "electra_decoder": _of("electra", embedding_size=16),
    "megatron_bert_decoder": _of("megatron-bert"),
    "big_bird_decoder": _of("big_bird", attention_type="original_full"),
    "data2vec_text_decoder": _of("data2vec-text"),
    # encoders as they are: every token sees all others
    "bert": _bidirectional("bert"),
    "roberta": _bidirectional("roberta"),
    "roformer": _bidirectional("roformer"),
    "rembert": _bidirectional("rembert", input_embedding_size=16, output_embedding_size=32),
    "electra": _bidirectional("electra", embedding_size=16),
    "camembert": _bidirectional("camembert"),
    "megatron_bert": _bidirectional("megatron-bert"),
    "xlm": Family("xlm", {"n_layers": 3, "n_heads": 4, "emb_dim": 32}, causal=False),
    "xlm_causal": _of("xlm", n_layers=3, n_heads=4, emb_dim=32, causal=True),
    "xlnet": Family("xlnet", {"n_head": 4, "d_head": 8, "d_inner": 48}, causal=False),
}


def _common(model_type: str) -> dict[str, Any]:
    """The sizes that this kind of config knows."""
    kind = CONFIG_MAPPING[model_type]
    known = {*inspect.signature(kind.__init__).parameters, *kind.attribute_map}
    return {name: value for name, value in _SIZES.items() if name in known}


def available() -> list[str]:
    """The families that the installed transformers has."""
    return [name for name, family in FAMILIES.items() if family.model_type in CONFIG_MAPPING]


def model_of(name: str, seed: int = 0) -> Any:
    """The family's tiny model, always the same. Skips the test where an earlier transformers cannot make it."""
    try:
        return _made(name, seed)
    except Exception as e:
        if tuple(map(int, tf.__version__.split(".")[:2])) < KNOWN:
            pytest.skip(f"transformers {tf.__version__} cannot make a tiny {name}: {e}")
        raise


def _made(name: str, seed: int) -> Any:
    family = FAMILIES[name]
    if family.make is not None:
        config = family.make()
    else:
        config = CONFIG_MAPPING[family.model_type](**{**_common(family.model_type), **family.own})
    torch.manual_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config)
    _enliven(model, seed)
    return model.eval()


@torch.no_grad()
def _enliven(model: Any, seed: int) -> None:
    """Draw matrices anew, so large that what enters a block matters for what leaves it."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() in (2, 3) and p.is_floating_point() and not any(part in name for part in _SHAPED):
            p.normal_(0, 0.2, generator=generator)


_SHAPED = ("A_log", "conv", "time_", "dt_", "x_proj", "rg_lru", "patch", "vision")
"""Parts of the names of parameters whose scale is not free."""


@cache
def tokenizer() -> Any:
    """The tokenizer of 512 pieces that all of them have."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    return tf.PreTrainedTokenizerFast(tokenizer_file=str(TOKENIZER), model_max_length=512, **special)


def save_family(name: str, folder: Path) -> Path:
    """The family's model and tokenizer in `folder`."""
    model_of(name).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
