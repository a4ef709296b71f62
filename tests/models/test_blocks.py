import pytest
import torch
import transformers as tf
from kits.tiny_models import BLOCKS, CONFIGS, LAYERS, VOCABULARY, batches, tiny
from torch import nn

from zobench.errors import ZobenchError
from zobench.models.blocks import decoder_blocks


@pytest.mark.parametrize("family", CONFIGS)
def test_blocks_are_found_named_and_in_the_order_they_run(family):
    loaded = tiny(family)
    blocks = loaded.blocks
    home = BLOCKS.get(family, "model.layers")
    assert [b.index for b in blocks] == list(range(LAYERS))
    assert [b.name for b in blocks] == [f"{home}.{i}" for i in range(LAYERS)]
    ran = []
    for block in blocks:
        assert loaded.model.get_submodule(block.name) is block.module
        block.module.register_forward_hook(lambda *_, i=block.index: ran.append(i))
    with torch.no_grad():
        loaded.model(input_ids=batches()[0].input_ids)
    assert ran == list(range(LAYERS))


@pytest.mark.parametrize("family", CONFIGS)
def test_parameter_names_are_the_models_own_and_blocks_share_none(family):
    loaded = tiny(family)
    every = dict(loaded.model.named_parameters())
    seen = set()
    for block in loaded.blocks:
        names = block.parameter_names()
        assert names and set(names) <= set(every)
        assert names == [n for n in every if n.startswith(block.name + ".")]
        assert block.numel() == sum(every[n].numel() for n in names)
        assert not seen & set(names)
        seen |= set(names)
    rest = set(every) - seen
    assert rest and all(
        "embed" in n or "norm" in n or "head" in n or "wte" in n or "wpe" in n or "ln_f" in n for n in rest
    )


def test_llama_block_has_the_papers_number_of_parameters():
    config = tf.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    blocks = decoder_blocks(tf.AutoModelForCausalLM.from_config(config))
    assert blocks[1].numel() == 4 * 32**2 + 3 * 32 * 48 + 2 * 32  # paper, appendix: 4H^2 + 3HI + 2H


def test_blocks_of_the_text_are_taken_where_a_tower_has_as_many():
    sizes = {"intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {"hidden_size": 16, "vocab_size": 16, "head_dim": 8, "num_key_value_heads": 1, **sizes}
    vision = {"hidden_size": 64, "image_size": 28, "patch_size": 14, **sizes}
    config = tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    blocks = decoder_blocks(tf.AutoModelForCausalLM.from_config(config))
    assert [b.name for b in blocks] == [f"model.language_model.layers.{i}" for i in range(3)]


def test_blocks_whose_parts_lie_in_several_lists_are_refused():
    model = tf.XLMWithLMHeadModel(tf.XLMConfig(vocab_size=16, emb_dim=16, n_layers=2, n_heads=2, causal=True))
    with pytest.raises(ZobenchError, match="transformer.attentions, transformer.ffns.*--selector all"):
        decoder_blocks(model)


class Mixture(nn.Module):
    """Three blocks of five experts each: the longer lists lie inside the shorter one."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.ModuleList()
        for _ in range(3):
            block = nn.Module()
            block.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(5))
            self.trunk.append(block)


def test_experts_are_not_blocks():
    assert [b.name for b in decoder_blocks(Mixture())] == ["trunk.0", "trunk.1", "trunk.2"]


def test_a_longer_list_loses_to_the_one_the_config_declares():
    loaded = tiny("llama")
    loaded.model.extra = nn.ModuleList(nn.Linear(2, 2) for _ in range(LAYERS + 3))
    assert decoder_blocks(loaded.model)[0].name == "model.layers.0"


def test_where_no_config_says_how_many_the_longest_wins():
    model = nn.Module()
    model.short = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    model.long = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    assert decoder_blocks(model)[0].name == "long.0"


def test_of_two_equally_long_lists_the_larger_wins():
    model = nn.Module()
    model.small = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    model.large = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    assert decoder_blocks(model)[0].name == "large.0"


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
        nn.ModuleList([nn.ReLU(), nn.ReLU()]),
        nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2)]),
        nn.ModuleList(),
    ],
    ids=["no-list", "no-parameters", "unlike", "empty"],
)
def test_a_model_without_blocks_is_refused(model):
    with pytest.raises(ZobenchError, match="found no decoder blocks in .*--selector all"):
        decoder_blocks(model)
