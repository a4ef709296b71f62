import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from zobench import ProbeResult, ZobenchError
from zobench.models.load import adopt
from zobench.plugins.registry import load_plugins

LAYERS = 4


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(only="")


@pytest.fixture
def make(plugins):
    return lambda name, **settings: plugins.selector(name)(**settings)


class Context:
    """A selection context over a tiny LLaMA: scopes are the tuples of their blocks; probes come from a table."""

    def __init__(self, probes=None):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            initializer_range=0.1,
        )
        tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=2)
        self.loaded = adopt(LlamaForCausalLM(config), tokenizer, name="tiny")
        self.seed, self.probes = 0, probes or {}
        self.facts, self.counted, self.asked, self.probed = {}, {}, [], []

    @property
    def blocks(self):
        return self.loaded.blocks

    def calibration(self, batches, batch_size):
        self.asked.append((batches, batch_size))
        ids = torch.randint(3, 32, (batches, batch_size, 10), generator=torch.Generator().manual_seed(self.seed))
        return [SimpleNamespace(input_ids=i, attention_mask=torch.ones_like(i)) for i in ids]

    def count(self, purpose, forwards):
        self.counted[purpose] = self.counted.get(purpose, 0) + forwards

    def note(self, **facts):
        json.dumps(facts, allow_nan=False)
        self.facts.update(facts)

    def everything(self):
        return "everything"

    def layers(self, *indices):
        if not all(0 <= i < LAYERS for i in indices):
            raise ZobenchError("no such block")
        return tuple(sorted(set(indices)))

    def probe(self, scope, steps, lr=None, *, metric=False):
        self.probed.append((scope, steps, lr, metric))
        loss, value = self.probes[scope[0]]
        return ProbeResult(loss, 10, 2 * steps + 2, value if metric else None, 0.1 if metric else None)

    def plant(self, index):
        self.blocks[index].module.mlp.down_proj.weight[5] *= 1e5


def test_listing_selectors_imports_no_torch():
    code = (
        "import sys; from zobench.plugins.registry import load_plugins;"
        "names = load_plugins(only='').names('selectors');"
        "assert {'all', 'layer', 'first_outlier', 'exhaustive_sweep'} <= set(names), names;"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_all_is_everything(make):
    assert make("all").select(Context()) == "everything"


def test_layer_takes_indices_as_text_or_numbers(make):
    assert make("layer", index="1").select(Context()) == (1,)
    assert make("layer", index="3, 1,3").select(Context()) == (1, 3)
    assert make("layer", index=(0,)).select(Context()) == (0,)


def test_layer_faults(make):
    with pytest.raises(ZobenchError, match="at least 0"):
        make("layer", index="-1")
    with pytest.raises(ZobenchError, match="not a whole number"):
        make("layer", index="one")
    with pytest.raises(ZobenchError, match="--set layer.index=K with K from 0 to 3"):
        make("layer").select(Context())
    with pytest.raises(ZobenchError, match="no such block"):
        make("layer", index=LAYERS).select(Context())


@pytest.mark.parametrize("index", range(LAYERS))
def test_first_outlier_finds_the_planted_block_and_says_why(make, index):
    context = Context()
    context.plant(index)
    assert make("first_outlier").select(context) == (index,)
    assert context.facts["chosen"] == index
    assert context.facts["rule"] == "plateau"
    assert "100 x median" in context.facts["condition"]
    rows = context.facts["activations"]
    assert [row["index"] for row in rows] == list(range(LAYERS))
    assert rows[index]["channel"] == 5 and rows[index]["max"] > 100 * rows[index]["median"]


def test_first_outlier_counts_its_forwards_and_leaves_the_model_alone(make):
    context = Context()
    context.plant(1)
    before = {name: p.clone() for name, p in context.loaded.model.named_parameters()}
    make("first_outlier", batches=3, batch_size="2").select(context)
    assert context.asked == [(3, 2)]
    assert context.counted == {"calibration": 3}
    assert all(torch.equal(p, before[name]) for name, p in context.loaded.model.named_parameters())


def test_first_outlier_without_one_says_what_is_nearest_and_still_notes_the_table(make):
    context = Context()
    with pytest.raises(ZobenchError) as caught:
        make("first_outlier").select(context)
    message = str(caught.value)
    rows = context.facts["activations"]
    ratios = [row["max"] / row["median"] for row in rows]
    growth = [b["max"] / a["max"] for a, b in zip(rows, rows[1:], strict=False)]
    assert f"{max(ratios):.1f}, of block {ratios.index(max(ratios))}" in message
    assert f"x{max(growth):.1f}, at block {growth.index(max(growth)) + 1}" in message
    assert "first_outlier.ratio" in message and "--selector layer" in message and "\n" not in message
    assert context.facts["chosen"] is None


def test_first_outlier_settings_reach_the_rule(make):
    context = Context()
    context.plant(0)
    with pytest.raises(ZobenchError, match="no outlier block"):
        make("first_outlier", rule="jump").select(context)  # block 0 has no block before it
    with pytest.raises(ZobenchError, match="no outlier block"):
        make("first_outlier", ratio="1e9").select(context)
    assert make("first_outlier", ratio="0.1", fraction=0).select(Context()) == (0,)
    assert make("first_outlier", rule="jump", ratio=1, jump=0.5).select(Context()) == (1,)
    with pytest.raises(ZobenchError, match="did you mean 'plateau'"):
        make("first_outlier", rule="platau")
    with pytest.raises(ZobenchError, match="at most 1"):
        make("first_outlier", fraction=1.5)


def test_sweep_takes_the_lowest_dev_loss(make):
    context = Context({0: (0.7, 0.5), 1: (0.4, 0.6), 2: (0.5, 0.9), 3: (0.6, 0.5)})
    assert make("exhaustive_sweep", steps=5, lr="1e-4").select(context) == (1,)
    assert context.probed == [((i,), 5, 1e-4, False) for i in range(LAYERS)]
    assert context.facts["chosen"] == 1 and context.facts["by"] == "dev_loss" and context.facts["steps"] == 5
    assert [(p["block"], p["dev_loss"], p["forwards"]) for p in context.facts["probes"]] == [
        (0, 0.7, 12),
        (1, 0.4, 12),
        (2, 0.5, 12),
        (3, 0.6, 12),
    ]


def test_sweep_by_metric(make):
    context = Context({0: (0.7, 0.5), 1: (0.4, 0.6), 2: (0.5, 0.9), 3: (0.45, 0.9)})
    assert make("exhaustive_sweep", by="dev_metric").select(context) == (3,)  # a tie: the lower loss
    assert all(metric for *_, metric in context.probed) and len(context.probed) == LAYERS
    assert [p["dev_metric"] for p in context.facts["probes"]] == [0.5, 0.6, 0.9, 0.9]


def test_sweep_asks_for_the_metric_of_tied_blocks_only(make):
    context = Context({0: (0.4, 0.5), 1: (0.5, 1.0), 2: (0.4, 0.7), 3: (0.4, 0.7)})
    assert make("exhaustive_sweep", steps=5).select(context) == (2,)
    assert [(scope, metric) for scope, _, _, metric in context.probed[LAYERS:]] == [
        ((0,), True),
        ((2,), True),
        ((3,), True),
    ]
    assert [p["dev_metric"] for p in context.facts["probes"]] == [0.5, None, 0.7, 0.7]


def test_sweep_over_some_blocks(make):
    context = Context({i: (1 - i / 10, 0.5) for i in range(LAYERS)})
    assert make("exhaustive_sweep", blocks="2,0,2").select(context) == (2,)
    assert [scope for scope, *_ in context.probed] == [(0,), (2,)]
    with pytest.raises(ZobenchError, match="no such block"):
        make("exhaustive_sweep", blocks="0,9").select(context)
    assert len(context.probed) == 2  # told before anything is tried


@pytest.mark.parametrize("lost", [math.inf, math.nan])
def test_sweep_passes_over_diverged_blocks(make, lost):
    context = Context({0: (lost, None), 1: (0.9, 0.1), 2: (lost, None), 3: (lost, None)})
    assert make("exhaustive_sweep").select(context) == (1,)
    assert [p["dev_loss"] for p in context.facts["probes"]] == [None, 0.9, None, None]
    with pytest.raises(ZobenchError, match="all 4 blocks diverged"):
        make("exhaustive_sweep").select(Context({i: (lost, None) for i in range(LAYERS)}))
