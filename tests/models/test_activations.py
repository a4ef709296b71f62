from types import SimpleNamespace

import pytest
import torch
from kits.matrix import named
from kits.tiny_models import CONFIGS, LAYERS, batches, plant, tiny
from torch import nn

from zobench.errors import ZobenchError
from zobench.models.activations import EMBEDDING, _body, block_activations


def stored(loaded, data, place):
    """All |h| of real tokens at hidden_states[place], as transformers itself hands them out for each row alone."""
    out = []
    for batch in data:
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
            with torch.no_grad():
                ran = loaded.model(input_ids=ids[mask.bool()][None], output_hidden_states=True)
            out.append(ran.hidden_states[place][0].abs().double())
    return torch.cat(out)


@pytest.mark.parametrize(
    "family", named(["llama", "qwen3", "opt", "gpt2", "gpt_neox", "phi"], ["llama", "opt", "gpt_neox"])
)
def test_statistics_are_those_of_all_activations_at_once(family):
    loaded, data = tiny(family), batches(count=3)
    table = block_activations(loaded, data)
    assert [row.index for row in table] == list(range(LAYERS))
    for row in table[:-1]:  # transformers puts the final norm on the last one
        true = stored(loaded, data, row.index + 1)
        assert row.mean == pytest.approx(true.mean().item(), rel=1e-5)
        assert row.max == pytest.approx(true.max().item(), rel=1e-5)
        assert row.median == pytest.approx(true.median().item(), rel=5e-4)
        assert row.median <= true.median().item() * (1 + 1e-5)


def test_the_embedding_is_the_stream_before_block_0():
    loaded, data = tiny("llama"), batches()
    table = block_activations(loaded, data, embedding=True)
    assert [row.index for row in table] == [EMBEDDING, *range(LAYERS)]
    assert table[0].max == pytest.approx(stored(loaded, data, 0).max().item())
    assert table[1:] == block_activations(loaded, data)


def test_the_last_row_is_before_the_final_norm():
    loaded, data = tiny("llama"), batches(count=1)
    assert loaded.capabilities.causal  # measured before
    seen = []
    loaded.model.model.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    last = block_activations(loaded, data)[-1]
    assert last.max == pytest.approx(seen[0][data[0].attention_mask.bool()].abs().max().item())


def test_where_the_max_is_counts_from_the_first_real_token():
    loaded = tiny("llama")
    loaded.model.get_input_embeddings().weight[33, 5] = 1e4
    ids = torch.full((3, 8), 9)
    mask = torch.ones_like(ids)
    mask[1, :3], ids[1, :3], ids[1, 5] = 0, 0, 33  # three pads, then position 0: the token is at position 2
    row = block_activations(loaded, [SimpleNamespace(input_ids=ids, attention_mask=mask)])[0]
    assert (row.position, row.channel, row.token) == (2, 5, 33)
    assert row.max == pytest.approx(1e4, rel=0.01)


def test_padding_does_not_count_and_the_first_token_does():
    loaded = tiny("llama")
    weight = loaded.model.get_input_embeddings().weight
    weight[0, 3] = 1e4  # the pad token
    data = batches(count=1)
    assert block_activations(loaded, data, embedding=True)[0].max < 100
    weight[1, 3] = 2e4  # BOS
    row = block_activations(loaded, data, embedding=True)[0]
    assert (row.position, row.channel, row.token) == (0, 3, 1)


def test_padding_on_the_right_gives_the_same_as_none():
    loaded = tiny("llama")
    ids = torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(1))
    bare = SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))
    wide = torch.cat([ids, torch.zeros(2, 3, dtype=ids.dtype)], 1)
    padded = SimpleNamespace(input_ids=wide, attention_mask=(torch.arange(9) < 6).long().expand(2, 9))
    for a, b in zip(block_activations(loaded, [bare]), block_activations(loaded, [padded]), strict=True):
        assert (a.position, a.channel, a.token) == (b.position, b.channel, b.token)
        assert (a.max, a.mean) == pytest.approx((b.max, b.mean), rel=1e-5)


def test_it_does_not_matter_how_rows_are_grouped_into_batches():
    loaded, whole = tiny("llama"), batches(rows=4, count=1)[0]
    single = [
        SimpleNamespace(input_ids=whole.input_ids[i, None], attention_mask=whole.attention_mask[i, None])
        for i in range(4)
    ]
    for a, b in zip(block_activations(loaded, [whole]), block_activations(loaded, single), strict=True):
        assert (a.mean, a.median, a.max) == pytest.approx((b.mean, b.median, b.max), rel=1e-3)
        assert (a.position, a.channel, a.token) == (b.position, b.channel, b.token)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near_float32_and_its_median_exact(dtype):
    loaded, data = tiny("llama"), batches()
    full = block_activations(loaded, data)
    loaded.model.to(dtype)
    seen = []
    loaded.blocks[0].module.register_forward_hook(
        lambda _, __, out: seen.append(out if torch.is_tensor(out) else out[0])
    )
    half = block_activations(loaded, data)
    for a, b in zip(full, half, strict=True):
        assert (a.mean, a.median, a.max) == pytest.approx((b.mean, b.median, b.max), rel=0.05)
    every = torch.cat([h[b.attention_mask.bool()] for h, b in zip(seen, data, strict=True)]).abs()
    assert half[0].median == every.median().item()


def test_overflow_in_float16_is_told_with_the_block_and_the_mend():
    loaded = tiny("llama")
    loaded.model.to(torch.float16)
    plant(loaded, "llama", 2, scale=6e4)
    loaded.blocks[2].module.mlp.down_proj.weight.mul_(100)
    with pytest.raises(ZobenchError, match="after block 2 are not finite in float16; .*bfloat16"):
        block_activations(loaded, batches())


def test_tuple_outputs_are_read_and_other_shapes_refused():
    loaded, data = tiny("gpt2"), batches()
    plain = block_activations(loaded, data)
    block = loaded.blocks[-1].module
    handle = block.register_forward_hook(lambda _, __, out: (out, None))
    loaded.model.transformer.ln_f.register_forward_pre_hook(
        lambda _, inputs: (inputs[0][0],) if isinstance(inputs[0], tuple) else None
    )
    assert block_activations(loaded, data) == plain
    handle.remove()
    block.register_forward_hook(lambda _, __, out: out.flatten(0, 1))
    with pytest.raises(ZobenchError, match=r"block 4 puts out \(48, 32\), not a stream"):
        block_activations(loaded, data)


def test_hooks_are_gone_afterwards_even_after_an_error():
    loaded = tiny("llama")
    with pytest.raises(ZobenchError, match="at least one batch"):
        block_activations(loaded, [])
    with pytest.raises(IndexError):
        block_activations(loaded, [SimpleNamespace(input_ids=torch.full((1, 4), 999), attention_mask=torch.ones(1, 4))])
    assert not any(b.module._forward_hooks or b.module._forward_pre_hooks for b in loaded.blocks)


def test_the_head_is_not_run():
    loaded, ran = tiny("llama"), []
    assert loaded.capabilities.causal  # measured before, by forwards with the head
    loaded.model.lm_head.register_forward_hook(lambda *_: ran.append(1))
    block_activations(loaded, batches())
    assert not ran


@pytest.mark.parametrize("family", named(CONFIGS, ["llama", "gpt2"]))
def test_every_family_gives_a_table(family):
    table = block_activations(tiny(family), batches())
    assert all(0 < row.median < row.max and row.median < 3 * row.mean for row in table)


def test_the_body_is_what_has_the_blocks():
    block = nn.Linear(2, 2)
    body = nn.Sequential(block)
    held, apart = SimpleNamespace(base_model=body), SimpleNamespace(base_model=nn.Sequential(nn.Linear(2, 2)))
    bare, odd = SimpleNamespace(), SimpleNamespace(base_model="a name")
    assert _body(held, block) is body
    assert all(_body(model, block) is model for model in (apart, bare, odd))
