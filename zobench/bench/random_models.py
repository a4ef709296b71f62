"""Models of random weights in the shapes of real ones: their speed is the real ones', and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from .. import devices
from ..errors import ZobenchError, unknown
from ..models.load import DTYPES, LoadedModel

LLAMA2_7B = dict(
    hidden_size=4096,
    intermediate_size=11008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    vocab_size=32000,
    max_position_embeddings=4096,
)
QWEN3_8B = dict(
    hidden_size=4096,
    intermediate_size=12288,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=151936,
    max_position_embeddings=40960,
)
CI = dict(
    hidden_size=256,
    intermediate_size=688,
    num_hidden_layers=8,
    num_attention_heads=8,
    num_key_value_heads=8,
    vocab_size=8192,
    max_position_embeddings=4096,
)
SHAPES: Mapping[str, tuple[str, Mapping[str, int], int]] = {
    "llama2-7b": ("llama", LLAMA2_7B, 1),
    "qwen3-8b": ("qwen3", QWEN3_8B, 6),
    "ci": ("llama", CI, 1),
}
"""Name -> (model_type, config, the decoder block that the paper tunes, 0-based): LLaMA2-7B's 1 and Qwen3-8B's 6."""


def random_model(shape: str, *, dtype: str, device: str, seed: int = 0) -> LoadedModel:
    """A causal language model with random weights, made on the device, without a tokenizer.

    Weights are as its class begins with: normal, standard deviation 0.02, norms 1. Raises ZobenchError for an unknown
    shape or dtype, and where the device cannot hold it.
    """
    if shape not in SHAPES:
        raise ZobenchError(unknown("shape of --random-weights", shape, SHAPES))
    if dtype not in DTYPES:
        raise ZobenchError(unknown("dtype", dtype, DTYPES))
    devices.check(device)
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, settings, _ = SHAPES[shape]
    place = torch.device(devices.best() if device == "auto" else device)
    config = AutoConfig.for_model(kind, **settings, tie_word_embeddings=False, attn_implementation="sdpa")
    try:
        with devices.streams_kept(), torch.device(place):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    except torch.OutOfMemoryError as error:
        raise ZobenchError(f"--random-weights {shape} in {dtype} does not fit on {place}: {error}") from error
    return LoadedModel(
        name=f"random {shape}",
        revision=None,
        model=model.eval().requires_grad_(False),
        tokenizer=None,
        device=place,
        dtype=dtype,
        context_length=int(settings["max_position_embeddings"]),
        pad_id=0,
    )
