"""Forwards that begin at a block: the same output, and the blocks below are not run."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from zobench.models import capabilities
from zobench.models.blocks import decoder_blocks, lowest_block
from zobench.models.start_at_block import Cut

SMALL = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    vocab_size=64,
    max_position_embeddings=64,
)
MODELS = {
    "llama": SMALL,
    "qwen3": {**SMALL, "head_dim": 16},
    "gemma2": {**SMALL, "head_dim": 16},
    "gpt_neox": {**SMALL, "num_key_value_heads": 2},
    "gpt2": dict(n_embd=32, n_layer=3, n_head=2, vocab_size=64, n_positions=64, bos_token_id=1, eos_token_id=2),
    "opt": dict(
        hidden_size=32, ffn_dim=48, num_hidden_layers=3, num_attention_heads=2, vocab_size=64, word_embed_proj_dim=32,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
    ),
}  # fmt: skip
IDS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])


def model_of(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **MODELS[kind])).eval()
    return model.requires_grad_(False)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_a_forward_from_a_block_gives_the_same_bits(kind, at):
    model = model_of(kind)
    blocks, ran = decoder_blocks(model), []
    cut = Cut(blocks, at)
    with cut.seen() as seen:
        whole = model(input_ids=IDS, use_cache=False).logits
    assert len(seen) == 1 and seen[0].shape == (2, 4, 32)
    for block in blocks:
        next(m for m in block.module.modules() if not list(m.children())).register_forward_hook(
            lambda *_, i=block.index: ran.append(i)
        )
    with cut.given(lambda: seen[0]):
        again = model(input_ids=IDS, use_cache=False).logits
    assert torch.equal(again, whole) and ran == list(range(at, 3))
    with cut.given(lambda: seen[0] + 1):
        assert not torch.equal(model(input_ids=IDS, use_cache=False).logits, whole)
    assert torch.equal(model(input_ids=IDS, use_cache=False).logits, whole), "it is left as it was"
    assert not any("forward" in vars(block.module) for block in blocks)


def test_what_another_library_put_in_place_is_there_afterwards():
    model = model_of("llama")
    blocks = decoder_blocks(model)
    theirs = blocks[0].module.forward
    blocks[0].module.forward = theirs
    cut = Cut(blocks, 1)
    with cut.seen() as seen:
        model(input_ids=IDS, use_cache=False)
    with pytest.raises(KeyError), cut.given(lambda: seen[0]):
        raise KeyError
    assert vars(blocks[0].module)["forward"] is theirs


def test_there_must_be_blocks_on_both_sides():
    blocks = decoder_blocks(model_of("llama"))
    for at in (0, 3):
        with pytest.raises(ValueError, match="on both sides"):
            Cut(blocks, at)


def test_the_lowest_block_of_parameters():
    model = model_of("llama")
    blocks = decoder_blocks(model)
    of = [list(block.module.parameters()) for block in blocks]
    assert lowest_block(blocks, of[2] + of[1]) == 1 and lowest_block(blocks, of[2][:1]) == 2
    assert lowest_block(blocks, [*of[1], model.lm_head.weight]) is None, "of no block"
    assert lowest_block(blocks, []) is None
    blocks[2].module.mlp.up_proj.weight = blocks[0].module.mlp.up_proj.weight
    assert lowest_block(blocks, [blocks[2].module.mlp.up_proj.weight]) == 0, "shared: moves below too"


@pytest.mark.parametrize(("blocks", "cuts"), [(None, False), (0, False), (1, False), (2, True)])
def test_a_model_of_one_block_has_none_below_its_last(monkeypatch, blocks, cuts):
    asked = []
    monkeypatch.setattr(capabilities, "cut_at", lambda loaded, at, forward: asked.append(at) or "a cut")
    held = SimpleNamespace() if blocks is None else SimpleNamespace(blocks=[None] * blocks)
    trial = object.__new__(capabilities.LayoutTrial)
    vars(trial).update(loaded=held, forward=None)
    assert trial.cuts() is cuts and asked == ([1] if cuts else [])
