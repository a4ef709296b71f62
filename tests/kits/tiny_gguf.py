"""A tiny LLaMA as a GGUF file, written with the `gguf` package as its own converter writes one."""

from pathlib import Path

import numpy as np
import torch
import transformers as tf

WORDS = "the a it was great terrible okay not film movie good bad yes no".split()
LAYERS, HIDDEN, HEADS, KV_HEADS = 2, 32, 4, 2
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE: all bytes, and the words with and without a blank before them."""
    from tokenizers.pre_tokenizers import ByteLevel

    tokens, merges = ["<|endoftext|>", *sorted(ByteLevel.alphabet())], []
    for word in WORDS:
        for whole in (word, "Ġ" + word):
            made = whole[0]
            for letter in whole[1:]:
                if made + letter not in tokens:
                    tokens.append(made + letter)
                    merges.append(f"{made} {letter}")
                made += letter
    return tokens, merges


def model(seed: int = 0) -> tf.LlamaForCausalLM:
    """The model that `write` puts into a file."""
    torch.manual_seed(seed)
    config = tf.LlamaConfig(
        vocab_size=len(vocabulary()[0]),
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    return tf.LlamaForCausalLM(config).eval()


def write(path: Path, *, quantised: str = "F32", architecture: str = "llama") -> tf.LlamaForCausalLM:
    """Write `model()` to `path`, matrices of blocks as `quantised` (F32, F16, Q8_0, Q4_0); returns it as it was."""
    import gguf

    made, (tokens, merges) = model(), vocabulary()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType[{"F32": "ALL_F32"}.get(quantised, f"MOSTLY_{quantised}")])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL, *[gguf.TokenType.NORMAL] * (len(tokens) - 1)])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    kind = gguf.GGMLQuantizationType[quantised]
    for name, tensor in made.state_dict().items():
        data = _permuted(name, tensor.float().numpy())
        if data.ndim == 2 and name.startswith("model.layers"):
            writer.add_tensor(_named(name), gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(_named(name), data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return made


def _named(name: str) -> str:
    """The GGUF name of a tensor of transformers."""
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}.get(
            name, "output.weight"
        )
    _, _, index, rest = name.split(".", 3)
    return f"blk.{index}.{NAMES[rest.removesuffix('.weight')]}.weight"


def _permuted(name: str, data: np.ndarray) -> np.ndarray:
    """Rotary halves as LLaMA's own weights pair them: GGUF files of LLaMA have queries and keys so."""
    heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else 0
    if not heads:
        return data
    return data.reshape(heads, 2, data.shape[0] // heads // 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
