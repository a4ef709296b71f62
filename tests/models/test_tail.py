"""The last block cut to the tokens that are looked at puts out what the whole block does there."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from zobench.engine.objective import Objective
from zobench.models.blocks import decoder_blocks
from zobench.models.forward import Forward
from zobench.models.last_block import Tail
from zobench.models.load import LoadedModel
from zobench.parameterisations import attach
from zobench.scopes.scope import Scope
from zobench.tasks.batch import pack
from zobench.tasks.encode import Row

SHAPE = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
MORE = dict(num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3)


def llama(**more):
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, **MORE, **more}))


EXACT = {
    "llama": llama,
    "tied, biases": lambda: llama(tie_word_embeddings=True, attention_bias=True, mlp_bias=True),
    "as many keys as queries": lambda: llama(num_key_value_heads=4),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, **MORE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, **MORE, head_dim=16)),
    "mistral, a window": lambda: MistralForCausalLM(MistralConfig(**SHAPE, **MORE, sliding_window=6)),
}

MAKES = EXACT | {"eager": lambda: llama(attn_implementation="eager")}  # its softmax is float32 whatever the weights


def made(name, dtype=torch.float64):
    torch.manual_seed(3)
    model = MAKES[name]().eval().to(dtype).requires_grad_(False)
    return held_as_loaded(model)


def held_as_loaded(model):
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="left")
    return LoadedModel(
        name="tiny",
        revision=None,
        model=model,
        tokenizer=tokenizer,
        device=torch.device("cpu"),
        dtype=str(model.dtype),
        context_length=64,
        pad_id=0,
    )


def rows(seed=0):
    """Ragged, with answers of one to three tokens, and several to the same prompt that share tokens."""
    rng = Random(seed)
    out = [
        Row(tuple(rng.randrange(1, 64) for _ in range(rng.randrange(4, 15))), rng.choice((1, 2, 3))) for _ in range(9)
    ]
    prompt = tuple(rng.randrange(1, 64) for _ in range(7))
    return [*out, Row((*prompt, 5, 6), 2), Row((*prompt, 5, 7, 8), 3), Row((*prompt, 9), 1)]


def forwards_of(loaded):
    """Over whole last blocks, and over what is looked at of them."""
    own = Forward.of(loaded)
    assert own.cuts_the_last_block
    return replace(own, packing=replace(own.packing, tail=None)), own


def passed(tail):
    """How many tokens the MLP of the last block has seen since, as a list that grows."""
    seen = []
    mlp, plain = tail.block.mlp, tail.block.mlp.forward
    mlp.forward = lambda x: (seen.append(x.shape[:2].numel()), plain(x))[1]
    return seen


@pytest.mark.parametrize("name", EXACT)
@torch.no_grad()
def test_it_is_the_block_where_it_is_looked_at(name):
    loaded = made(name)
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)
    want = held.log_probs(whole)
    tokens = passed(own.packing.tail)
    got = held.log_probs(own)
    assert tokens == [len(held.at)] and len(held.at) < held.input_ids.numel() / 2
    assert float((got - want).abs().max()) < 1e-12
    assert "forward" not in vars(own.packing.tail.block)


@torch.no_grad()
def test_more_places_than_a_row_has():
    loaded = made("llama")
    whole, own = forwards_of(loaded)
    held = pack([Row((1, 2, 3, 4, *ids), 3) for ids in zip(*[iter(range(5, 60))] * 3, strict=False)], 0)
    assert len(held.at) > held.input_ids.shape[1] < held.input_ids.numel()
    got, want = (held.log_probs(one) for one in (own, whole))
    assert float((got - want).abs().max()) < 1e-12


@pytest.mark.parametrize("name", ["llama", "qwen3", "eager"])
@torch.no_grad()
def test_in_single_precision(name):
    loaded = made(name, torch.float32)
    whole, own = forwards_of(loaded)
    held = pack(rows(1), 0)
    got, want = (held.log_probs(one) for one in (own, whole))
    assert torch.allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", [0, 1])
@torch.no_grad()
def test_points_side_by_side(layer):
    """Of a scope of the last block too, whose modules run on each point's part of what they are given."""
    loaded = made("qwen3")
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)
    named = {n: p for n, p in loaded.model.named_parameters() if f"layers.{layer}." in n}
    points = [{n: p + 0.05 * torch.randn_like(p) for n, p in named.items()} for _ in range(3)]

    def loss(which):
        return lambda forward, batch: batch.log_probs(which.through(forward)).sum()

    want = [Objective(loaded.model, loss(whole), held).at(weights) for weights in points]
    got = Objective(loaded.model, loss(own), held, batched=True).many(points)
    assert torch.allclose(torch.stack(list(got)), torch.stack(want), rtol=1e-12, atol=1e-12)


def test_derivatives_pass_through_it():
    loaded = made("llama")
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)

    def loss(which):
        return lambda forward, batch: batch.log_probs(which.through(forward)).sum()

    names = [n for n, _ in loaded.model.named_parameters() if "layers.1." in n]
    tangents = {n: torch.randn_like(p) for n, p in loaded.model.named_parameters() if n in names}
    one, other = (Objective(loaded.model, loss(which), held) for which in (whole, own))
    assert torch.allclose(one.jvp(tangents)[1], other.jvp(tangents)[1], rtol=1e-10)
    (_, a), (_, b) = one.gradient(names), other.gradient(names)
    assert all(torch.allclose(a[n], b[n], rtol=1e-9, atol=1e-12) for n in names)


@pytest.mark.parametrize("parameterisation", ["lora", "scales", "prefix"])
@torch.no_grad()
def test_what_is_attached_is_seen(parameterisation):
    loaded = made("llama")
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)
    plain = held.log_probs(whole)
    scope = Scope((n, p) for n, p in loaded.model.named_parameters() if "layers.1." in n)
    put = attach(parameterisation, loaded.model, scope)
    for _, p in put.scope.named:
        p.add_(0.3)
    tokens = passed(own.packing.tail)
    got, want = (held.log_probs(one) for one in (own, whole))
    assert torch.allclose(got, want, rtol=1e-12, atol=1e-12) and not torch.allclose(got, plain)
    tokens_of_all = held.input_ids.numel()
    assert tokens == [tokens_of_all if parameterisation == "prefix" else len(held.at), tokens_of_all]
    put.detach()


@torch.no_grad()
def test_who_watches_a_module_sees_all_tokens():
    loaded = made("llama")
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)
    want = held.log_probs(whole)
    seen = []
    hook = loaded.blocks[-1].module.mlp.up_proj.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape))
    got = held.log_probs(own)
    hook.remove()
    assert seen == [(*held.input_ids.shape, 32)]
    assert torch.allclose(got, want, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_a_block_whose_output_is_replaced_passes_over_all_tokens():
    """As selectors do that leave a block out."""
    loaded = made("llama")
    whole, own = forwards_of(loaded)
    held = pack(rows(), 0)
    hook = loaded.blocks[-1].module.register_forward_hook(lambda module, args, output: args[0])
    got, want = (held.log_probs(one) for one in (own, whole))
    hook.remove()
    assert torch.equal(got, want) and not torch.allclose(got, held.log_probs(own))


@pytest.mark.parametrize(
    "model",
    [
        OPTForCausalLM(
            OPTConfig(vocab_size=64, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=2)
        ),
        GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2)),
        Gemma2ForCausalLM(Gemma2Config(**SHAPE, num_key_value_heads=2, head_dim=8)),
    ],
    ids=lambda m: type(m).__name__,
)
def test_other_blocks_are_left_alone(model):
    assert Tail.of(decoder_blocks(model)) is None


def test_a_block_that_only_looks_like_it_is_found_out():
    loaded = made("llama")
    block = loaded.blocks[-1].module
    plain = block.forward
    block.forward = lambda hidden_states, **more: plain(hidden_states, **more).flip(-1)
    assert Tail.of(loaded.blocks) is not None and not loaded.capabilities.last_block
