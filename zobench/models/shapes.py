"""Named shapes: the configs of well-known models, for planning and for speed without their files. Light."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ZobenchError, unknown

PREFIX = "shape:"


def _shape(kind: str, paper: int, **config: Any) -> tuple[str, Mapping[str, Any], int]:
    return kind, {"tie_word_embeddings": False, **config}, paper


def _llama(hidden: int, inner: int, blocks: int, heads: int, groups: int, words: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": blocks, "vocab_size": words}
    return {
        **sizes,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "max_position_embeddings": 4096,
        **more,
    }


SHAPES: Mapping[str, tuple[str, Mapping[str, Any], int]] = {
    "llama2-7b": _shape("llama", 1, **_llama(4096, 11008, 32, 32, 32, 32000)),
    "llama2-13b": _shape("llama", 1, **_llama(5120, 13824, 40, 40, 40, 32000)),
    "llama3-8b": _shape("llama", 1, **_llama(4096, 14336, 32, 32, 8, 128256, max_position_embeddings=8192)),
    "mistral-7b": _shape("mistral", 1, **_llama(4096, 14336, 32, 32, 8, 32000, max_position_embeddings=32768)),
    "qwen3-0.6b": _shape(
        "qwen3",
        1,
        **_llama(1024, 3072, 28, 16, 8, 151936, head_dim=128, max_position_embeddings=40960, tie_word_embeddings=True),
    ),
    "qwen3-1.7b": _shape(
        "qwen3",
        1,
        **_llama(2048, 6144, 28, 16, 8, 151936, head_dim=128, max_position_embeddings=40960, tie_word_embeddings=True),
    ),
    "qwen3-8b": _shape(
        "qwen3", 6, **_llama(4096, 12288, 36, 32, 8, 151936, head_dim=128, max_position_embeddings=40960)
    ),
    "opt-1.3b": _shape(
        "opt",
        1,
        hidden_size=2048,
        ffn_dim=8192,
        num_hidden_layers=24,
        num_attention_heads=32,
        vocab_size=50272,
        word_embed_proj_dim=2048,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    ),
    "opt-13b": _shape(
        "opt",
        1,
        hidden_size=5120,
        ffn_dim=20480,
        num_hidden_layers=40,
        num_attention_heads=40,
        vocab_size=50272,
        word_embed_proj_dim=5120,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    ),
    "ci": _shape("llama", 1, **_llama(256, 688, 8, 8, 8, 8192)),
}
"""Name -> (model_type, config, the decoder block that the paper tunes, 0-based): LLaMA2-7B's 1 and Qwen3-8B's 6; 1 for
the others. `ci` is of no model.
"""


def shape_of(spec: str) -> str | None:
    """The name of a shape that `--model shape:NAME` names; None for another model. ZobenchError for an unknown one."""
    if not spec.startswith(PREFIX):
        return None
    name = spec.removeprefix(PREFIX).lower()
    if name not in SHAPES:
        raise ZobenchError(f"--model {spec}: " + unknown("shape", name, SHAPES))
    return name
