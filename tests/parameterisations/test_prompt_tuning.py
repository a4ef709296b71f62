"""A prompt computes what embeddings before the text's do, in every form of a forward, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from test_parameterisation import gpt2, layer, llama, logits, mixtral, neox, opt, picture, qwen, whole

from zobench import Scope, ZobenchError
from zobench.models.lockstep import lockstep
from zobench.parameterisations import attach
from zobench.parameterisations.prompt import NAME

MAKES = [llama, qwen, opt, gpt2, neox, mixtral]
TOKENS = torch.arange(3, 12)[None]


def scrambled(put):
    """Other values in the prompt than those it starts from."""
    ((_, p),) = put.scope.named
    with torch.no_grad():
        p.normal_(generator=torch.Generator().manual_seed(1))
    return p.detach().clone()


def before(model, prompt, ids, places=None):
    """The logits of the text with the prompt's embeddings before the text's; places: of all."""
    embedded = torch.cat((prompt[None].to(model.dtype), model.get_input_embeddings()(ids)), 1)
    places = torch.arange(embedded.shape[1])[None] if places is None else places
    return model(inputs_embeds=embedded, position_ids=places, use_cache=False).logits[:, len(prompt) :]


@pytest.mark.parametrize("make", MAKES)
@torch.no_grad()
def test_it_computes_what_embeddings_before_the_text_do_and_leaves_no_trace(make):
    model, close = (make(), 1e-5) if make is mixtral else (make().double(), 1e-12)  # experts are in float32 at most
    was, out = picture(model), logits(model)
    stream = torch.get_rng_state()
    put = attach("prompt", model, whole(model), seed=3, settings={"num_virtual_tokens": 4})
    assert torch.equal(torch.get_rng_state(), stream)
    assert [(n, tuple(p.shape)) for n, p in put.scope.named] == [(f"{NAME}.embeddings", (4, 16))]
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {f"{NAME}.embeddings"}
    prompt, got = scrambled(put), logits(model)
    assert not torch.allclose(got, out)
    put.detach()
    put.detach()
    assert picture(model) == was
    assert torch.equal(logits(model), out)
    assert float((got - before(model, prompt, TOKENS)).abs().max()) < close
    moved = torch.arange(13)[None].clamp(max=9)
    assert float((got - before(model, prompt, TOKENS, moved)).abs().max()) > 1e-5, "places tell a difference"


@torch.no_grad()
def test_what_it_starts_from_is_the_seed_s():
    model = llama(layers=3)

    def start(seed=1, **settings):
        put = attach("prompt", model, whole(model), seed=seed, settings=settings)
        ((_, p),) = put.scope.named
        put.detach()
        return p.detach()

    table = model.model.embed_tokens.weight
    assert start().shape == (10, 16) and torch.equal(start(), start()) and not torch.equal(start(), start(2))
    assert all(any(torch.equal(row, one) for one in table) for row in start())
    normal = start(init="normal", num_virtual_tokens=60)
    assert abs(float(normal.std()) - 1) < 0.1 and not any(torch.equal(normal[0], one) for one in table)
    model = model.to(torch.bfloat16)
    assert start().dtype == torch.float32, "small steps are not rounded away"


@pytest.mark.parametrize("make", [llama, qwen, opt, neox, gpt2])
@torch.no_grad()
def test_padding_masks_and_generation_see_the_prompt(make):
    model = make().double()
    put = attach("prompt", model, whole(model), settings={"num_virtual_tokens": 3})
    scrambled(put)
    ids = torch.arange(3, 9)[None]
    alone = model(input_ids=ids, use_cache=False).logits
    padded = torch.cat((torch.zeros(1, 2, dtype=torch.long), ids), 1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    beside = model(input_ids=padded.repeat(2, 1), attention_mask=mask.repeat(2, 1), use_cache=False).logits[:, 2:]
    assert float((beside - alone).abs().max()) < 1e-12
    for told in ({}, {"attention_mask": torch.ones(1, 6, dtype=torch.long)}):
        start = model(input_ids=ids[:, :4], use_cache=True)
        steps, cache = [start.logits], start.past_key_values
        for i in (4, 5):
            given = {k: v[:, : i + 1] for k, v in told.items()}
            step = model(input_ids=ids[:, i : i + 1], past_key_values=cache, use_cache=True, **given)
            steps.append(step.logits)
        assert float((torch.cat(steps, 1) - alone).abs().max()) < 1e-12
    assert model.generate(ids, max_new_tokens=3, do_sample=False)[0, 6] == alone[0, -1].argmax()
    put.detach()


@pytest.mark.parametrize(("make", "attention"), [(llama, "sdpa"), (llama, "eager"), (opt, "sdpa")])
@torch.no_grad()
def test_texts_side_by_side_share_it(make, attention):
    """Packed rows: a mask of every two tokens, and places that begin anew with each text."""
    model = make().double()
    model.set_attn_implementation(attention)
    put = attach("prompt", model, whole(model), settings={"num_virtual_tokens": 3})
    scrambled(put)
    one, other = torch.arange(3, 9), torch.arange(20, 24)
    own = torch.tensor([0] * 6 + [1] * 4)
    seen = ((own[:, None] == own[None]) & torch.ones(10, 10, dtype=torch.bool).tril())[None, None]
    if attention == "eager":
        seen = torch.zeros_like(seen, dtype=torch.double).masked_fill(~seen, torch.finfo(torch.double).min)
    places = torch.cat((torch.arange(6), torch.arange(4)))[None]
    got = model(torch.cat((one, other))[None], attention_mask=seen, position_ids=places, use_cache=False).logits[0]
    want = torch.cat([model(input_ids=x[None], use_cache=False).logits[0] for x in (one, other)])
    assert float((got - want).abs().max()) < 1e-12


@torch.no_grad()
def test_points_side_by_side_have_a_prompt_each():
    model = llama().double()
    put = attach("prompt", model, whole(model))
    ids = TOKENS.repeat(2, 1)
    ((name, p),) = put.scope.named
    points = (p + 0.1, p - 0.3)
    passed = []
    hook = model.model.layers[0].register_forward_pre_hook(lambda m, args: passed.append(args[0].shape[0]))
    with lockstep(model, dict(put.scope.named), 2, {name: points}.__getitem__):
        both = model(input_ids=ids, use_cache=False).logits
    assert passed == [2, 2]
    passed.clear()
    for i in range(2):
        p.copy_(points[i])
        assert float((logits(model)[0] - both[i]).abs().max()) < 1e-12
        model(input_ids=TOKENS.repeat(5, 1), use_cache=False)
    assert passed == [1, 1, 1, 5] * 2, "one prompt passes for all rows"
    hook.remove()
    put.detach()


def test_gradients_reach_it_and_nothing_is_held_after_a_forward():
    model = llama().double()
    put = attach("prompt", model, whole(model))
    ((_, p),) = put.scope.named
    scrambled(put)

    model(input_ids=TOKENS, use_cache=False).logits.logsumexp(-1).sum().backward()
    held = [m for m in model.modules() if getattr(m, "kept", None) is not None]
    assert not held
    grad, prompt = p.grad, p.detach().clone().requires_grad_()
    put.detach()
    before(model, prompt, TOKENS).logsumexp(-1).sum().backward()
    assert torch.allclose(grad, prompt.grad, rtol=1e-6, atol=1e-9) and float(grad.norm()) > 1e-3


def test_it_is_active_when_the_embeddings_are():
    class Even(Scope):
        def active(self, step):
            return lambda name: step % 2 == 0 or "embed" not in name

    model = llama()
    put = attach("prompt", model, Even(model.named_parameters()))
    assert [put.scope.active(step)(f"{NAME}.embeddings") for step in range(3)] == [True, False, True]


def windowed():
    from transformers import MistralConfig, MistralForCausalLM

    shape = dict(vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4)
    return MistralForCausalLM(MistralConfig(**shape, num_key_value_heads=2, sliding_window=6)).eval()


def test_faults_are_named():
    model = llama()
    was = picture(model)
    with pytest.raises(ZobenchError, match=r"place of the input embeddings, which are not in the chosen scope .*\[1\]"):
        attach("prompt", model, layer(model, 1))
    named = list(model.named_parameters())
    masks = {n: torch.ones_like(p, dtype=torch.bool) for n, p in named}
    with pytest.raises(ZobenchError, match="masks entries of model.embed_tokens.weight, and a prompt"):
        attach("prompt", model, Scope(named, masks=masks))
    with pytest.raises(ZobenchError, match="prompt.num_virtual_tokens=0: must be at least 1"):
        attach("prompt", model, whole(model), settings={"num_virtual_tokens": 0})
    with pytest.raises(ZobenchError, match="prompt.init=token: .*did you mean 'tokens'"):
        attach("prompt", model, whole(model), settings={"init": "token"})
    with pytest.raises(ZobenchError, match="Sequential has no input embeddings"):
        attach("prompt", torch.nn.Sequential(torch.nn.Linear(2, 2)), whole(torch.nn.Linear(2, 2)))
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ZobenchError, match="computed by flex_attention, .*load the model with sdpa or eager"):
        attach("prompt", model, whole(model))
    model.config._attn_implementation = "sdpa"
    assert picture(model) == was


@pytest.mark.parametrize("make", [windowed])
def test_a_model_that_hands_on_something_else_is_refused(make):
    """Attention to the last few tokens alone: a prompt's keys and values would be seen from farther away."""
    model = make()
    was = picture(model)
    with pytest.raises(ZobenchError, match="hands on of a prompt more than keys and values .*use parameterisation pre"):
        attach("prompt", model, whole(model))
    assert picture(model) == was


@torch.no_grad()
def test_places_end_where_they_were_learned():
    for make in (opt, gpt2):
        model = make()
        put = attach("prompt", model, whole(model), settings={"num_virtual_tokens": 4})
        model(input_ids=torch.ones(1, 60, dtype=torch.long), use_cache=False)
        mask = torch.tensor([[0] * 3 + [1] * 60])
        model(input_ids=torch.ones(1, 63, dtype=torch.long), attention_mask=mask, use_cache=False)
        with pytest.raises(ZobenchError, match="a text of 61 need more than the model's 64 places; set max_length=60"):
            model(input_ids=torch.ones(1, 61, dtype=torch.long), use_cache=False)
        put.detach()
        with pytest.raises(ZobenchError, match="num_virtual_tokens=64: the model has 64 places"):
            attach("prompt", model, whole(model), settings={"num_virtual_tokens": 64})
