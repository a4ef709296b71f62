"""The Llama that is trained, its optimiser, and its loss."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zobench import ZobenchError

from .packing import PackedPart
from .recipe import Recipe
from .tokenizer import BOS_ID, EOS_ID, PAD_ID


def build(recipe: Recipe, vocab: int) -> Any:
    """A LlamaForCausalLM with random float32 weights, a function of the recipe's seed; global seeds stay as they were.

    vocab: tokens of the tokenizer, which may be fewer than the recipe admits.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.intermediate,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_heads,
        max_position_embeddings=recipe.context,
        initializer_range=recipe.init_std,
        tie_word_embeddings=recipe.tie,
        attention_bias=recipe.bias_std > 0,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(config).float().train()
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=recipe.embed_std)
        for number, layer in enumerate(model.model.layers):
            _begin(layer.self_attn, recipe, first=number < recipe.bias_blocks)
    return model


@torch.no_grad()
def _begin(attention: Any, recipe: Recipe, *, first: bool) -> None:
    """The first weights of a block's attention, where the recipe has them other than random."""
    if recipe.bias_std and first:
        torch.nn.init.normal_(attention.q_proj.bias, std=recipe.bias_std)
        torch.nn.init.normal_(attention.k_proj.bias, std=recipe.bias_std)
    if recipe.mimetic:
        attention.q_proj.weight.mul_(recipe.mimetic)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        attention.o_proj.weight.copy_(attention.v_proj.weight.T)


def body(model: Any, recipe: Recipe) -> Any:
    """The model below its head, as steps are to call it: compiled if the recipe says so.

    On a CPU it then has plain attention, which the compiler makes one with what surrounds it. Raises ZobenchError
    where there is no C++ compiler.
    """
    if not recipe.compile:
        return model.model
    if model.device.type == "cpu":
        if not any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))):
            raise ZobenchError("--compile needs a C++ compiler: install g++, or leave it out")
        model.set_attn_implementation("eager")
    return torch.compile(model.model, dynamic=False)


def adamw(model: Any, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), one fused kernel a step; norms are not decayed."""
    parameters = list(model.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.lr,
        betas=(0.9, recipe.beta2),
        fused=True,
    )


def loss(model: Any, part: PackedPart, body: Any = None) -> Tensor:
    """The sum of weight x cross-entropy over the part's predicted tokens: float32, no dimensions.

    body: what to call below the head, if not the model's own. Attention is causal without a mask, as padding stands at
    the end of rows and counts for nothing. Only the places that count are projected to the vocabulary.
    """
    stream = (model.model if body is None else body)(input_ids=part.input_ids, use_cache=False).last_hidden_state
    logits = model.lm_head(stream.flatten(0, 1).index_select(0, part.places))
    return (F.cross_entropy(logits.float(), part.targets, reduction="none") * part.weights).sum()


def precision(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """The context in which matrix products are taken in `dtype`: float32 or bfloat16."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
