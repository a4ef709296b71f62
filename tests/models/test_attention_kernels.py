"""What kernels of attention may do differently from one device to the next must not matter."""

from __future__ import annotations

import pytest
import torch
from kits import run_kit
from kits.families import model_of, tokenizer
from kits.matrix import covering
from torch.nn import functional

from zobench.models.load import adopt, load_model
from zobench.models.trial import limit
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import protocol_from
from zobench.run.session import Session

SIZES = {"num_train": 8, "num_dev": 4, "num_test": 6, "batch_size": 4, "steps": 1, "eval_every": 1, "max_new_tokens": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return run_kit.World(run_kit.save_model(folder / "model"), run_kit.save_data(folder / "data"))


def said(world, task, rows):
    """A loss of training, and what every test item scores."""
    where = Session(load_model(str(world.model), device="cpu", offline=True), load_plugins(), world.data)
    prepared, _ = where.prepared(task, protocol_from(dict(SIZES)), rows)
    loss = prepared.loss(where.loaded.model, prepared.train_batch(range(4)))
    return float(loss), prepared.test_score(where.loaded.model).items


@pytest.mark.parametrize(("task", "rows"), covering(["sst2", "squad"], ["replicated", "shared", "packed"]))
def test_rows_of_padding_that_see_nothing_may_be_anything(monkeypatch, world, task, rows):
    """Of a query that sees no key some kernels give 0, others the mean of all values, others what lay in memory."""
    want, plain, blind = said(world, task, rows), functional.scaled_dot_product_attention, []

    def other(query, key, value, attn_mask=None, *args, **options):
        out = plain(query, key, value, attn_mask, *args, **options)
        if attn_mask is None:
            return out
        sees = attn_mask if attn_mask.dtype == torch.bool else attn_mask > torch.finfo(attn_mask.dtype).min / 2
        nothing = ~sees.any(-1, keepdim=True)
        blind.append(bool(nothing.any()))
        return torch.where(nothing, 1e4, out)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", other)
    assert said(world, task, rows) == (pytest.approx(want[0], abs=1e-6), want[1])
    assert any(blind)  # of padding, in rows and in bins


def test_a_deep_model_in_sixteen_bits_packs_though_its_rounding_shows():
    """What ways of laying rows out may differ by is measured on the model: one that rounds much may differ by more."""
    model = model_of("llama").to(torch.float16).requires_grad_(False)
    for block in model.model.layers:
        block.mlp.down_proj.weight.mul_(300.0)  # streams grow from block to block, as in large models
    loaded = adopt(model, tokenizer(), name="deep")
    found = loaded.capabilities
    assert found.packs and found.padding == "masked"
    assert limit(torch.float16, found.noise) > limit(torch.float16, 0.0)
