"""Packed rows: stems side by side, none seeing another, the same losses up to rounding."""

import functools
from random import Random
from types import SimpleNamespace

import pytest
import torch
from kits.matrix import covering
from transformers import AutoConfig, AutoModelForCausalLM

from zobench.models.capabilities import LayoutTrial
from zobench.models.forward import Forward
from zobench.models.load import adopt
from zobench.tasks.batch import collate, pack
from zobench.tasks.encode import Encoded, Row
from zobench.tasks.loss import LOSSES
from zobench.tasks.pack import COARSE, FINE, best_bins, rung

BASE = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=64,
    max_position_embeddings=64,
)
GPT2 = dict(n_embd=32, n_layer=2, n_head=2, vocab_size=64, n_positions=64, bos_token_id=1, eos_token_id=2)
OPT = dict(
    hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, word_embed_proj_dim=32
)
MODELS = {
    "llama": BASE,
    "qwen3": {**BASE, "head_dim": 16, "tie_word_embeddings": True},
    "mistral": {**BASE, "sliding_window": None},
    "gemma2": {**BASE, "head_dim": 16},  # bounds its logits
    "gpt_neox": {**BASE, "num_key_value_heads": 2},
    "gpt2": GPT2,  # a table of places
    "opt": {**OPT, "word_embed_proj_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1},
}
LENGTHS = [(9, (1, 1)), (14, (3, 2)), (5, (2, 4)), (3, (1, 1, 1)), (11, (2, 2))]


def model_of(kind, attention="eager", dtype=torch.float32, **settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **MODELS.get(kind, BASE), **settings, attn_implementation=attention)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, 0.3)
    return model.to(dtype)


def held(model):
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2, padding_side="left", model_max_length=64)
    return adopt(model, tokenizer, name="tiny")


def examples(seed=0, beginning=0):
    """Two candidates share their first `beginning` tokens."""
    rng, out = Random(seed), []
    for prompt, options in LENGTHS:
        ids = [rng.randrange(3, 64) for _ in range(prompt)]
        common = [rng.randrange(3, 64) for _ in range(beginning)]
        rows = [[*ids, *common, *(rng.randrange(3, 64) for _ in range(n))] for n in options]
        made = tuple(Row(tuple(row), n + beginning) for row, n in zip(rows, options, strict=True))
        out.append(Encoded(made, 1, (1,), (), ""))
    return out


# ---- where stems lie


def test_bins_hold_each_stem_once_and_little_else():
    sizes = [40, 12, 9, 31, 22, 5, 17, 8, 36, 11]
    bins, length = best_bins(sizes, 1)
    assert sorted(i for inside in bins for i in inside) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in inside) <= length for inside in bins) and length >= 40
    assert len(bins) * length < 1.1 * sum(sizes)
    assert best_bins([7], 8) == ([[0]], 8) and best_bins([7], 1) == ([[0]], 7)
    assert all(best_bins(sizes, m)[1] % m == 0 for m in (1, 4, 8))


def test_a_ladder_has_so_many_rungs_an_octave():
    assert [rung(n, FINE) for n in (1, 5, 8, 9, 11, 16, 17, 33)] == [1, 5, 8, 10, 12, 16, 20, 40]
    assert [rung(n, COARSE) for n in (1, 2, 3, 5, 9)] == [1, 2, 4, 8, 16]
    assert all(n <= rung(n, FINE) <= 1.25 * n for n in range(4, 500))


def test_batches_of_many_lengths_have_few_shapes():
    rng, few, many = Random(0), set(), set()
    for _ in range(150):
        rows = [Row((i, *range(rng.randrange(6, 40))), rng.randrange(1, 4)) for i in range(6)]
        for found, way in ((few, True), (many, False)):
            made = pack(rows, 0, 8, few=way)
            found.add((*made.input_ids.shape, len(made.at), made.slots, *made.place.shape))
    assert len(few) < len(many) / 2


def test_a_token_sees_its_own_stem_up_to_itself():
    rows = [row for example in examples() for row in example.rows]
    packed = pack(rows, 0)
    ids, places, seen = packed.input_ids, packed.position_ids, packed.attention_mask[:, 0]
    assert seen.shape == (*ids.shape, ids.shape[1]) and packed.tokens <= ids.numel()
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            own = seen[b, t].nonzero().flatten().tolist()
            assert own[-1] == t and own == list(range(own[0], t + 1))
            if len(own) > 1 or places[b, t]:
                assert [int(places[b, u]) for u in own] == list(range(len(own)))


def test_each_option_token_is_predicted_from_what_stands_before_it():
    rows = [row for example in examples(beginning=1) for row in example.rows]
    packed = pack(rows, 0)
    flat, places = packed.input_ids.flatten(), packed.position_ids.flatten()
    for number, row in enumerate(rows):
        for k in range(packed.targets.shape[1]):
            if packed.inside[number, k]:
                at = int(packed.at[packed.place[number, k]])
                length = len(row.ids) - packed.targets.shape[1] + k
                assert tuple(flat[at - length + 1 : at + 1].tolist()) == row.ids[:length]
                assert int(packed.targets[number, k]) == row.ids[length] and int(places[at]) == length - 1
    assert len(set(packed.at.tolist())) == len(packed.at)


# ---- losses


@pytest.mark.parametrize(
    ("kind", "name", "beginning"), covering(MODELS, ["classification", "option"], [0, 2], together=2)
)
def test_losses_are_those_of_padded_rows(kind, name, beginning):
    made = held(model_of(kind))
    forward = Forward.of(made)
    assert made.capabilities.packs_rows_of(64)
    batch = collate(examples(beginning=beginning), 0, packed=1)
    plain = collate(examples(beginning=beginning), 0)
    few = collate(examples(beginning=beginning), 0, packed=1, few=True)
    packed, padded_on = (LOSSES[name](forward, one) for one in (batch, few))
    assert float(packed) == pytest.approx(float(LOSSES[name](forward, plain)), rel=1e-5)
    assert float(padded_on) == pytest.approx(float(packed), rel=1e-5) and len(few.shared.at) > len(batch.shared.at)
    assert batch.shared.input_ids.numel() < plain.input_ids.numel() / 2


@pytest.mark.parametrize(
    ("dtype", "attention"), covering([torch.float32, torch.bfloat16, torch.float16], ["sdpa", "eager"])
)
def test_in_every_dtype_and_attention(attention, dtype):
    made = held(model_of("llama", attention, dtype))
    forward = Forward.of(made, float32=True)
    assert made.capabilities.packs
    packed = LOSSES["classification"](forward, collate(examples(), 0, packed=8))
    plain = LOSSES["classification"](forward, collate(examples(), 0))
    assert float(packed) == pytest.approx(float(plain), rel=1e-5 if dtype is torch.float32 else 0.1)


def test_only_places_that_are_looked_at_reach_the_head():
    model, seen = model_of("gemma2"), []
    forward = Forward.of(held(model))
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    batch = collate(examples(), 0, packed=1)
    LOSSES["classification"](forward, batch)
    assert seen == [(1, len(batch.shared.at), 64)] and not model.lm_head._forward_pre_hooks


def test_a_failed_forward_leaves_no_hook():
    model = model_of("llama")
    forward = Forward.of(held(model))
    model.model.norm.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        LOSSES["option"](forward, collate(examples(), 0, packed=1))
    assert not model.lm_head._forward_pre_hooks


# ---- models that cannot


def test_models_that_would_mix_stems_are_told_apart(monkeypatch):
    settings = dict(hidden_size=32, n_layer=2, n_head=2, vocab_size=64)
    bloom = AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", **settings)).eval()
    assert not held(bloom).capabilities.packs  # its places are in the attention, and count over stems
    narrow = AutoConfig.for_model("mistral", **BASE, sliding_window=32)
    found = held(AutoModelForCausalLM.from_config(narrow).eval()).capabilities
    assert found.window == 32 and not found.packs_rows_of(33) and found.packs_rows_of(32)
    llama = model_of("llama")
    forward = llama.forward

    @functools.wraps(forward)
    def blind(**given):
        return forward(**{**given, "attention_mask": None, "position_ids": None})

    monkeypatch.setattr(llama, "forward", blind)
    assert not held(llama).capabilities.packs
    monkeypatch.setattr(LayoutTrial, "_agree", lambda *args: True)  # a leak that rounding hides
    assert not held(llama).capabilities.packs and held(model_of("llama")).capabilities.packs
