"""Tiny random models of the families that blocks and activations are tested on, and outliers planted in them."""

from types import SimpleNamespace

import torch
import transformers as tf

from zobench.models.load import LoadedModel, adopt

LAYERS = 5
VOCABULARY = 64
_COMMON = {"vocab_size": VOCABULARY, "initializer_range": 0.1, "bos_token_id": 1, "eos_token_id": 2}
_SIZES = {"hidden_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "max_position_embeddings": 64}
_MLP = {"intermediate_size": 48}
_KV = {"num_key_value_heads": 2, "head_dim": 8}

CONFIGS = {
    "llama": lambda: tf.LlamaConfig(**_COMMON, **_SIZES, **_MLP, **_KV),
    "mistral": lambda: tf.MistralConfig(**_COMMON, **_SIZES, **_MLP, **_KV),
    "qwen2": lambda: tf.Qwen2Config(**_COMMON, **_SIZES, **_MLP, num_key_value_heads=2),
    "qwen3": lambda: tf.Qwen3Config(**_COMMON, **_SIZES, **_MLP, **_KV),
    "gemma": lambda: tf.GemmaConfig(**_COMMON, **_SIZES, **_MLP, **_KV),
    "phi": lambda: tf.PhiConfig(**_COMMON, **_SIZES, **_MLP),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**_COMMON, **_SIZES, **_MLP),
    "opt": lambda: tf.OPTConfig(
        vocab_size=VOCABULARY,
        init_std=0.1,
        hidden_size=32,
        word_embed_proj_dim=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        ffn_dim=48,
        max_position_embeddings=64,
    ),
    "gpt2": lambda: tf.GPT2Config(**_COMMON, n_embd=32, n_layer=LAYERS, n_head=4, n_positions=64, n_inner=48),
}
BLOCKS = {"opt": "model.decoder.layers", "gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}  # else model.layers
MLP_OUT = {"opt": "fc2", "gpt2": "mlp.c_proj", "gpt_neox": "mlp.dense_4h_to_h", "phi": "mlp.fc2"}  # else mlp.down_proj


def tiny(family: str) -> LoadedModel:
    """A randomly initialised model of the family, always the same."""
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(CONFIGS[family]())
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="right")
    return adopt(model, tokenizer, name=f"tiny-{family}")


def plant(loaded: LoadedModel, family: str, index: int, channel: int = 7, scale: float = 1e4) -> None:
    """Make the MLP of block `index` write a massive value into one channel of the stream."""
    out = loaded.blocks[index].module.get_submodule(MLP_OUT.get(family, "mlp.down_proj"))
    row = out.weight.T[channel] if family == "gpt2" else out.weight[channel]
    row.mul_(scale)


def batches(rows: int = 4, length: int = 12, count: int = 2, seed: int = 0) -> list[SimpleNamespace]:
    """Left-padded batches: row r has r pads, a BOS, then random tokens."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(count):
        ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
        mask = torch.ones_like(ids)
        for r in range(rows):
            ids[r, :r], mask[r, :r], ids[r, r] = 0, 0, 1
        out.append(SimpleNamespace(input_ids=ids, attention_mask=mask))
    return out
