"""Models of random weights in published shapes have the published numbers of parameters."""

import pytest
import torch
import transformers as tf

from zobench.models.shapes import SHAPES

PARAMETERS = {
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama3-8b": 8_030_261_248,
    "mistral-7b": 7_241_732_096,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-8b": 8_190_735_360,
    "opt-1.3b": 1_315_758_080,
    "opt-13b": 12_853_473_280,
}
CONTEXT = {"llama3-8b": 8192, "mistral-7b": 32768, "opt-1.3b": 2048, "opt-13b": 2048}


def numel(config):
    with torch.device("meta"):
        model = tf.AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_the_published_one(name):
    kind, facts, block = SHAPES[name]
    one, two = (numel(tf.AutoConfig.for_model(kind, **{**facts, "num_hidden_layers": n})) for n in (1, 2))
    assert one + (facts["num_hidden_layers"] - 1) * (two - one) == PARAMETERS.get(name, 10_522_880)
    assert facts["max_position_embeddings"] == CONTEXT.get(name, 40960 if "qwen3" in name else 4096)
    assert block == (6 if name == "qwen3-8b" else 1), "the block that the paper tunes"
