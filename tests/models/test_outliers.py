import math

import pytest
from kits.matrix import covering, named
from kits.tiny_models import CONFIGS, LAYERS, batches, plant, tiny

from zobench.models.activations import BlockActivation, block_activations
from zobench.models.outliers import RULES, OutlierChoice, choice, choose_block, describe, jumps, margins


def table(maxima, medians):
    return [
        BlockActivation(i, 1.2 * m, m, top, 0, 7, 1) for i, (top, m) in enumerate(zip(maxima, medians, strict=True))
    ]


# Shaped like the paper's figure 2; the numbers are made up, the shape is what it shows and says.
LLAMA2_7B = table(
    [25, 2100, *[2100 + 10 * i for i in range(28)], 1900, 300],
    [0.02, 0.03, *[0.05 + 0.04 * i for i in range(28)], 1.3, 1.5],
)
QWEN3_8B = table(
    [6, 12, 20, 45, 80, 160, 8200, *[8300 + 60 * i for i in range(27)], 7000, 900],
    [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, *[0.5 + 0.1 * i for i in range(27)], 4.0, 6.0],
)
QUIET = table([3.7, 4.2, 5.0, 7.0, 12.3], [0.27, 0.37, 0.49, 0.68, 0.88])


def test_the_papers_two_models():
    assert choose_block(LLAMA2_7B) == 1
    assert choose_block(QWEN3_8B) == 6
    assert choose_block(LLAMA2_7B, rule="jump") == 1
    assert choose_block(QWEN3_8B, rule="jump") == 6


def test_the_ratio_rule_is_taken_in_by_a_tiny_median():
    assert choose_block(LLAMA2_7B, rule="ratio") == 0  # 25 / 0.02: why plateau is the default
    assert choose_block(QWEN3_8B, rule="ratio") == 6


@pytest.mark.parametrize("rule", RULES)
def test_no_outlier_gives_none(rule):
    assert choose_block(QUIET, rule=rule) is None
    assert choose_block([], rule=rule) is None
    assert choose_block(table([0, 0], [0, 0]), rule=rule) is None


@pytest.mark.parametrize("fraction", [0.02, 0.1, 0.5, 0.8])
def test_the_choice_is_stable_in_the_fraction(fraction):
    assert choose_block(LLAMA2_7B, fraction=fraction) == 1
    assert choose_block(QWEN3_8B, fraction=fraction) == 6


@pytest.mark.parametrize("rule", RULES)
def test_margins_are_by_how_much_thresholds_may_change(rule):
    """Thresholds higher by less than the chosen block's margin change nothing, and by more something."""
    for rows in (LLAMA2_7B, QWEN3_8B):
        found = choice(rows, rule=rule)
        assert found.block == choose_block(rows, rule=rule) and found.margin >= 1
        assert found.margin == margins(rows, rule=rule)[found.block]

        def harder(factor):
            of = {"ratio": {"plateau": 100, "jump": 100, "ratio": 1000}[rule] * factor}
            return choose_block(rows, rule=rule, fraction=0.1 * factor, jump=5 * factor, **of)  # noqa: B023

        assert harder(found.margin * 0.999) == found.block != harder(found.margin * 1.001)
        if found.rival_margin:
            assert harder(found.rival_margin * 1.001) == found.block != harder(found.rival_margin * 0.999)


def test_where_no_block_passes_the_nearest_is_named():
    found = choice(QUIET)
    assert found.block is None and found.margin is None and found.rival == 4
    assert found.rival_margin == pytest.approx(12.3 / 0.88 / 100)
    assert str(found) == "none (block 4 at x0.14)" and str(choice(LLAMA2_7B)) == "1 (x8.9; block 0 at x0.11)"
    assert choice([]) == OutlierChoice(None, None, None, None)


def test_each_threshold_binds():
    rows = table([1, 50, 1000, 3000], [0.1, 0.1, 1, 1])
    assert choose_block(rows, fraction=0.3) == 2
    assert choose_block(rows, fraction=1 / 3 + 0.01) == 3
    assert choose_block(rows, fraction=0.01) == 1
    assert choose_block(table([100, 200], [0.1, 0.1]), fraction=0.5) == 0, "at least: half is enough"
    assert choose_block(rows, fraction=0.01, ratio=500) == 1
    assert choose_block(rows, fraction=0.01, ratio=501) == 2
    assert choose_block(rows, rule="jump") == 1
    assert choose_block(rows, rule="jump", ratio=501) == 2
    assert choose_block(rows, rule="jump", jump=51) is None
    assert choose_block(rows, rule="ratio") == 2
    assert choose_block(rows, rule="ratio", ratio=500) == 1


def test_the_row_of_the_embedding_is_never_chosen():
    embedding = BlockActivation(-1, 0.2, 0.1, 5e4, 0, 0, 1)
    for rule in RULES:
        assert choose_block([embedding, *LLAMA2_7B], rule=rule) == choose_block(LLAMA2_7B, rule=rule)


def test_block_0_can_be_the_one_but_not_by_a_jump():
    rows = table([900, 900, 910], [0.5, 0.6, 0.7])
    assert choose_block(rows) == 0
    assert choose_block(rows, rule="jump") is None


def test_jumps_and_ratio():
    assert jumps(table([2, 6, 3], [1, 1, 1])) == [None, 3, 0.5]
    assert jumps(table([0, 6], [1, 1])) == [None, None]
    assert jumps([]) == []
    assert table([6], [2])[0].ratio == 3
    assert table([6], [0])[0].ratio == math.inf
    assert table([0], [0])[0].ratio == 0


def test_rules_say_their_thresholds():
    assert describe("plateau") == "max >= 100 x median and max >= 0.1 of the largest"
    assert describe("jump", ratio=30, jump=4) == "max >= 30 x median and max >= 4 x block before"
    assert describe("ratio") == "max >= 1000 x median"


@pytest.mark.parametrize("family", named(CONFIGS, ["llama", "opt", "gpt_neox"]))
def test_random_models_have_no_outlier(family):
    rows = block_activations(tiny(family), batches())
    assert max(row.ratio for row in rows) < 15
    assert [choose_block(rows, rule=rule) for rule in RULES] == [None] * 3


@pytest.mark.parametrize(("family", "index"), covering(["llama", "qwen3", "opt", "gpt2", "gpt_neox"], range(LAYERS)))
def test_a_planted_outlier_is_found(family, index):
    loaded = tiny(family)
    plant(loaded, family, index)
    rows = block_activations(loaded, batches())
    assert choose_block(rows) == index
    assert rows[index].channel == 7


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_first_of_two_is_found(family):
    loaded = tiny(family)
    plant(loaded, family, 1)
    plant(loaded, family, 3, channel=11)
    assert choose_block(block_activations(loaded, batches())) == 1
