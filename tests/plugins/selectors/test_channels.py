"""Outlier channels of an MLP, and complements: which entries move, in five families of models."""

from __future__ import annotations

import pytest
import torch
from kits.tiny_models import batches as tiny_batches
from kits.tiny_models import tiny
from transformers import Phi3Config, Phi3ForCausalLM
from zobench_plugins.selectors.inside import linear_layers, mlp_of
from zobench_plugins.selectors.outlier_channels import OutlierChannels

from zobench import ZobenchError
from zobench.models.load import adopt
from zobench.plugins.registry import load_plugins
from zobench.testing.planted import LAYERS, TrialContext, planted

FAMILIES = ["llama", "qwen3", "gemma", "phi", "gpt_neox", "opt", "gpt2", "phi3"]
H, WIDTH, LAYER = 16, 24, 2208  # of the planted model: hidden size, MLP width, entries of a block


@pytest.fixture
def context():
    context = TrialContext(planted("outlier", 1), seed=0)
    with torch.no_grad():
        context.blocks[1].module.mlp.up_proj.weight[9] *= 50  # channel 9 is the block's largest
    return context


def of_family(family):
    if family == "phi3":  # gate and up are one matrix
        config = Phi3Config(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            pad_token_id=0,
        )
        torch.manual_seed(0)
        like = tiny("llama")
        return adopt(Phi3ForCausalLM(config), like.tokenizer, name="tiny-phi3")
    return tiny(family)


def entries(scope):
    """(name, flat index) of every entry that may move."""
    out = set()
    for name, p in scope.named:
        mask = scope.masks.get(name, torch.ones_like(p, dtype=torch.bool))
        out |= {(name, i) for i in mask.flatten().nonzero().flatten().tolist()}
    return out


def peaks(context, block, width):
    """The largest |input| of each channel of the down matrix, over real tokens."""
    seen, mask = torch.zeros(width), []

    def hook(module, inputs):
        x = inputs[0].reshape(*mask[0].shape, width)[mask[0]]
        torch.maximum(seen, x.detach().abs().amax(0), out=seen)

    handle = mlp_of(block).down.module.register_forward_pre_hook(hook)
    for batch in context.calibration(4, 8):
        mask[:] = [batch.attention_mask.bool()]
        with torch.no_grad():
            context.loaded.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    handle.remove()
    return seen


def test_the_top_channels_are_rows_of_gate_and_up_and_columns_of_down(context):
    scope = OutlierChannels(share=0.1).select(context)
    k = 2  # 10% of 24
    top = context.facts["top"]
    assert top == peaks(context, context.blocks[1], WIDTH).topk(k).indices.tolist() and top[0] == 9
    assert scope.numel() == 3 * H * k, "equation 7"
    want = set()
    for name, p in context.blocks[1].module.mlp.named_parameters():
        grid = torch.zeros_like(p, dtype=torch.bool)
        if name.startswith("down"):
            grid[:, top] = True
        else:
            grid[top] = True
        want |= {(f"model.layers.1.mlp.{name}", i) for i in grid.flatten().nonzero().flatten().tolist()}
    assert entries(scope) == want and scope.layers == (1,)
    hidden = {(n, i) for n, i in want if "down" in n}
    assert len(hidden) == H * k and k * WIDTH * 3 != scope.numel(), "hidden channels would be 3 I k"


@pytest.mark.parametrize(("share", "k"), [(0.001, 1), (0.06, 1), (0.07, 2), (0.99, 24)])
def test_the_share_of_top_channels_is_rounded_and_leaves_one_at_least(context, share, k):
    OutlierChannels(index=1, share=share).select(context)
    assert len(context.facts["top"]) == k, "of 24"


def test_the_parts_of_table_6_fit_together(context):
    part = {p: OutlierChannels(part=p).select(context) for p in ("top", "mlp", "mlp_without_top", "layer_without_top")}
    top, mlp, rest, layer = (entries(part[p]) for p in part)
    assert len(top) == 3 * H and part["mlp"].numel() == 3 * H * WIDTH
    assert top | rest == mlp and not top & rest
    assert top | layer == entries(context.layers(1)) and not top & layer and len(layer) == LAYER - 3 * H
    assert {s.layers for s in part.values()} == {(1,)}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_masked_is_the_channel_in_every_family(family):
    """Zeroing the entries into a channel silences what enters the down matrix there, and nothing else."""
    loaded = of_family(family)
    context = TrialContext(loaded, seed=0)
    context.calibration = lambda n, size: tiny_batches()
    block = loaded.blocks[1]
    mlp = mlp_of(block)
    scope = OutlierChannels(index=1, share=0.05).select(context)
    top = context.facts["top"]
    assert len(top) == round(0.05 * mlp.channels) and context.facts["channels"] == mlp.channels == 48
    assert context.forwards == {"calibration": 2}
    seen = []
    hook = mlp.down.module.register_forward_pre_hook(lambda m, x: seen.append(x[0].detach().reshape(-1, 48).clone()))
    with torch.no_grad():
        loaded.model(input_ids=tiny_batches()[0].input_ids)
        for name, p in scope.named:
            if not name.startswith(mlp.down.name):
                p[scope.masks[name]] = 0
        loaded.model(input_ids=tiny_batches()[0].input_ids)
    hook.remove()
    before, after = seen
    assert bool(before[:, top].any())
    before[:, top] = 0
    assert torch.equal(after, before)
    down = scope.masks[f"{mlp.down.name}.weight"]
    along = down if mlp.down.outputs == 0 else down.T
    assert along.all(0).nonzero().flatten().tolist() == sorted(top) and int(along.sum()) == len(top) * along.shape[0]
    assert f"{mlp.down.name}.bias" not in dict(scope.named)
    biases = [n for n, _ in scope.named if n.endswith("bias")]
    assert len(biases) == (1 if family in ("phi", "gpt_neox", "opt", "gpt2") else 0)


def test_a_named_block_and_no_outlier():
    context = TrialContext(planted("outlier", 1), seed=0)
    assert OutlierChannels(index=3).select(context).layers == (3,)
    with pytest.raises(ZobenchError, match="blocks 0 to 3, not 4"):
        OutlierChannels(index=4).select(context)
    context.forwards.clear()
    assert OutlierChannels(index=3, part="mlp").select(context).numel() == 3 * H * WIDTH and not context.forwards
    assert OutlierChannels(index=3, part="mlp").expected_forwards(4, 2, 1) == 0
    clean = TrialContext(planted("sensitive", 0), seed=0)
    with pytest.raises(ZobenchError, match="planted has no outlier block; name one: --set outlier_channels.index=K"):
        OutlierChannels().select(clean)
    lenient = TrialContext(planted("sensitive", 0), seed=0)
    scope = OutlierChannels(ratio=1.5).select(lenient)
    assert scope.layers == (lenient.facts["chosen"],)


def test_an_mlp_of_no_known_kind(context):
    context.blocks[1].module.mlp.sideways = context.blocks[1].module.mlp.down_proj
    del context.blocks[1].module.mlp.down_proj
    with pytest.raises(ZobenchError, match=r"model.layers.1 has no MLP whose channels are known .*mlp.sideways"):
        OutlierChannels(index=1).select(context)
    assert len(linear_layers(context.blocks[1])) == 7


# ---- all_but


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(only="")


def test_all_but_is_the_complement(plugins, context):
    everything = entries(context.everything())
    for text, noted in (("layer:2", set()), ("outlier_channels", {"outlier_channels"})):
        scope = plugins.selector(f"all_but:{text}")().select(context)
        assert set(context.facts) == noted, "what a part notes stands under its text"
        assert entries(scope) == everything - entries(plugins.selector(text)().select(context))
    assert plugins.selector("all_but:layer:2")().select(context).layers == (0, 1, 3)
    assert plugins.selector("all_but:outlier_channels")().select(context).layers == tuple(range(LAYERS))


def test_all_but_faults(plugins, context):
    with pytest.raises(ZobenchError, match="Schedule changes with the step"):
        plugins.selector("all_but:lisa")().select(context)
    with pytest.raises(ZobenchError, match="nothing is left"):
        plugins.selector("all_but:all")().select(context)
    with pytest.raises(ZobenchError, match="selector all_but is made of another one; write all_but:first_outlier"):
        plugins.selector("all_but+layer:1")
    with pytest.raises(ZobenchError, match="selector all_but is made of another one; write all_but:first_outlier"):
        plugins.selector("all_but")
    with pytest.raises(ZobenchError, match="AllBut is made of another selector; name it after a colon"):
        plugins.get("selectors", "all_but")()
