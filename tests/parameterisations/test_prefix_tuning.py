"""A prefix is what a cache of keys and values would be, stands only where it should, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from test_parameterisation import gpt2, layer, llama, logits, neox, opt, picture, qwen, whole
from transformers import DynamicCache

from zobench import Scope, ZobenchError
from zobench.models.lockstep import lockstep
from zobench.parameterisations import attach
from zobench.parameterisations.prefix import NAME

MAKES = [llama, qwen, opt, gpt2, neox]


def scrambled(put):
    """Other values in the prefixes than those they start from."""
    with torch.no_grad():
        for i, (_, p) in enumerate(put.scope.named):
            p.normal_(generator=torch.Generator().manual_seed(i))


@pytest.mark.parametrize("make", MAKES)
def test_it_stands_before_the_text_and_leaves_no_trace(make):
    model = make()
    before, out = picture(model), logits(model)
    stream = torch.get_rng_state()
    put = attach("prefix", model, whole(model), seed=3)
    assert torch.equal(torch.get_rng_state(), stream)
    assert len(put.scope.named) == 4 and all(p.shape[1] == 5 for _, p in put.scope.named)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {n for n, _ in put.scope.named}
    assert not torch.allclose(logits(model), out), "tokens stand before the text"
    put.detach()
    put.detach()
    assert picture(model) == before
    assert torch.equal(logits(model), out)


def cached(model, named):
    """The prefixes as a cache of transformers' own, with the positions of the text as without one."""
    held = dict(named)
    cache = DynamicCache()
    for i in range(len(held) // 2):
        keys, values = (
            held[f"model.layers.{i}.self_attn.{NAME}.{which}"].detach()[None] for which in ("keys", "values")
        )
        cache.update(keys, values, i)
    return cache


@pytest.mark.parametrize("make", [llama, qwen])
@torch.no_grad()
def test_it_computes_what_a_cache_of_the_same_values_does(make):
    model = make().double()
    put = attach("prefix", model, whole(model), settings={"num_prefix": 3})
    scrambled(put)
    out, cache = logits(model), cached(model, put.scope.named)
    put.detach()
    ids = torch.arange(3, 12)[None]
    want = model(input_ids=ids, past_key_values=cache, position_ids=torch.arange(9)[None]).logits
    assert float((out - want).abs().max()) < 1e-12


@torch.no_grad()
def test_it_starts_as_the_keys_and_values_of_tokens_and_only_the_seed_says_which():
    model = llama(layers=3)
    put = attach("prefix", model, whole(model), seed=1, settings={"num_prefix": 4})
    first = {n: p.clone() for n, p in put.scope.named}
    assert {tuple(p.shape) for p in first.values()} == {(2, 4, 4)}, "two key-value heads of size 4"
    put.detach()
    alone = attach("prefix", model, layer(model, 1), seed=1, settings={"num_prefix": 4})
    assert [n.split(".")[2] for n, _ in alone.scope.named] == ["1", "1"] and alone.scope.layers == (1,)
    assert all(torch.equal(p, first[n]) for n, p in alone.scope.named)
    alone.detach()
    other = attach("prefix", model, whole(model), seed=2, settings={"num_prefix": 4})
    assert not any(torch.equal(p, first[n]) for n, p in other.scope.named)
    other.detach()
    every = [model(input_ids=torch.tensor([[t]]), use_cache=True).past_key_values.layers[0].values for t in range(64)]
    start = first[f"model.layers.0.self_attn.{NAME}.values"]  # below all attention, and values have no position
    assert all(any(torch.allclose(start[:, i], v[0, :, 0]) for v in every) for i in range(4))


@pytest.mark.parametrize("make", [llama, qwen, opt, neox])
@torch.no_grad()
def test_padding_masks_and_generation_see_the_prefix(make):
    model = make().double()
    put = attach("prefix", model, whole(model))
    scrambled(put)
    ids = torch.arange(3, 9)[None]
    alone = model(input_ids=ids, use_cache=False).logits
    padded = torch.cat((torch.zeros(1, 2, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    out = model(input_ids=padded, attention_mask=mask, use_cache=False).logits[:, 2:]
    assert float((out - alone).abs().max()) < 1e-12
    start = model(input_ids=ids[:, :4], use_cache=True)
    steps = [start.logits]
    cache = start.past_key_values
    for i in (4, 5):
        step = model(input_ids=ids[:, i : i + 1], past_key_values=cache, use_cache=True)
        steps.append(step.logits)
    assert float((torch.cat(steps, 1) - alone).abs().max()) < 1e-12
    put.detach()


@torch.no_grad()
def test_points_side_by_side_have_a_prefix_each():
    model = llama().double()
    put = attach("prefix", model, whole(model))
    ids = torch.arange(3, 12)[None].repeat(2, 1)
    own = {n: p.detach() for n, p in put.scope.named}
    tables = {n: (p + 0.1, p - 0.3) for n, p in own.items()}
    with lockstep(model, dict(put.scope.named), 2, tables.__getitem__):
        both = model(input_ids=ids, use_cache=False).logits
    for i in range(2):
        for n, p in put.scope.named:
            p.copy_(tables[n][i])
        assert float((logits(model)[0] - both[i]).abs().max()) < 1e-12
    put.detach()


def test_a_changing_scope_carries_over():
    class Even(Scope):
        def active(self, step):
            return lambda name: f"layers.{step % 2}." in name

    model = llama()
    put = attach("prefix", model, Even(model.named_parameters()))
    for step in (0, 1, 2):
        on = put.scope.active(step)
        assert {n.split(".")[2] for n, _ in put.scope.named if on(n)} == {str(step % 2)}


def test_faults_are_named():
    model = llama()
    before = picture(model)
    with pytest.raises(ZobenchError, match="no attention module has a weight in the chosen scope"):
        attach("prefix", model, Scope([("model.norm.weight", model.model.norm.weight)]))
    with pytest.raises(ZobenchError, match="masks entries of model.layers.0.self_attn.q_proj.weight, and a prefix"):
        named = list(model.named_parameters())
        attach("prefix", model, Scope(named, masks={n: torch.ones_like(p, dtype=torch.bool) for n, p in named}))
    with pytest.raises(ZobenchError, match="prefix.num_prefix=0: must be at least 1"):
        attach("prefix", model, whole(model), settings={"num_prefix": 0})
    with pytest.raises(ZobenchError, match="Sequential has no attention module"):
        attach("prefix", torch.nn.Sequential(torch.nn.Linear(2, 2)), whole(torch.nn.Linear(2, 2)))
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ZobenchError, match="computed by flex_attention, .*load the model with sdpa or eager"):
        attach("prefix", model, whole(model))
    model.config._attn_implementation = "sdpa"
    assert picture(model) == before


def test_a_model_that_computes_its_attention_itself_is_refused():
    model = llama()
    for block in model.model.layers:
        block.self_attn.forward = lambda hidden_states, **more: (hidden_states, None)
    with pytest.raises(ZobenchError, match="model.layers.0.self_attn does not call transformers' interface"):
        attach("prefix", model, whole(model))
    assert not any(NAME in n for n, _ in model.named_modules())
