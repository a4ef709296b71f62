"""What cells of well-known shapes hold on well-known cards, by the account: MeZO's batch, float16, all weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import pytest

from zobench.bench.shape_session import session_of
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from, protocol_from
from zobench.run.cell_shapes import shapes_of
from zobench.run.memory_account import ONE_BLOCK, PlannedMethod, activations, memory_of
from zobench.run.selection import everything

GIB = 2**30
CARDS = (24, 48, 80, 141)
FITS = {
    ("llama2-7b", "mezo"): CARDS,
    ("qwen3-8b", "mezo"): CARDS,
    ("llama2-7b", "hizoo"): (48, 80, 141),
    ("qwen3-8b", "hizoo"): (80, 141),
    ("llama2-7b", "zo_adam"): (80, 141),
    ("qwen3-8b", "zo_adam"): (141,),
}


@cache
def shapes(shape: str):
    session = session_of(shape, load_plugins(), dtype="float16", device="cuda")
    rules = protocol_from({"num_train": 64, "num_dev": 2, "num_test": 2})
    prepared, _ = session.prepared("sst2", rules, "packed")
    return shapes_of(session.loaded, everything(session.loaded), prepared, rules)


def account(shape: str, estimator: str, card: int):
    cls = load_plugins().estimator(estimator)
    wish = computation_from({"dtype": "float16", "noise": "philox"})
    cell = SimpleNamespace(estimator_settings=dict(cls.needs), computation=wish, protocol=protocol_from({}))
    return memory_of(cell, shapes(shape), card * GIB, cls)


@pytest.mark.parametrize(("shape", "estimator"), FITS)
def test_which_cards_have_the_room(shape, estimator):
    """A larger card is never used worse, and what lies on the host is two copies of the weights at most."""
    made = {card: account(shape, estimator, card) for card in CARDS}
    assert tuple(card for card, one in made.items() if one.fits) == FITS[shape, estimator]
    for one in made.values():
        assert sum(one.host.values()) <= 2 * shapes(shape).weights
        if not one.fits:
            assert one.ways and all(less > 0 for less in one.ways.values())


@pytest.mark.parametrize("shape", ["llama2-7b", "qwen3-8b"])
@pytest.mark.parametrize("card", CARDS)
def test_mezo_takes_little_more_than_the_weights_unless_there_is_room(shape, card):
    """Exact copies, and those of start and checkpoint, where they are beside the weights, are in room to spare."""
    one, of = account(shape, "mezo", card), shapes(shape)
    lean = one.peak - one.device["theta"] - one.device["copies"]
    assert lean <= 1.15 * of.weights + activations(of, of.tokens, of.answers)
    assert one.device["theta"] <= (card * GIB - of.weights) / 2 and one.peak <= card * GIB


def test_the_speed_is_measured_where_its_baseline_fits():
    """MeZO's order over logits at all positions of padded rows takes more than training does."""
    assert [card for card in CARDS if account("qwen3-8b", "mezo", card).speed_fits] == [48, 80, 141]
    assert account("llama2-7b", "mezo", 24).speed_fits


@pytest.mark.parametrize(("of_a_block", "more", "named"), [(2, 0, False), (2, 1, True), (5, 0, True), (1, 0, False)])
def test_a_scope_of_more_than_two_blocks_is_told_of_one(of_a_block, more, named):
    own, cls = shapes("llama2-7b"), load_plugins().estimator("mezo")
    own = replace(own, scope=((of_a_block * own.block + more,),))
    wish = computation_from({"dtype": "float16"})
    cell = SimpleNamespace(estimator_settings={}, computation=wish, protocol=protocol_from({}))
    ways = PlannedMethod(cls, {}, wish, own, "cuda").ways(cell, 80 * GIB)
    assert (ONE_BLOCK in ways) == named and "batch_size=8 (another protocol)" in ways
    assert "--dtype bfloat16" not in ways, "it has as few bits already"


@pytest.mark.parametrize(
    ("engine", "restore", "precision", "estimator", "held"),
    [
        ("flat", "exact", "native", "mezo", 46),  # a copy of what moves
        ("flat", "exact", "float32", "mezo", 92),  # float32 masters in its place
        ("flat", "arithmetic", "native", "mezo", 0),
        ("pair", "exact", "native", "mezo", 2 * 46),  # the weights at both points
        ("pair", "exact", "float32", "mezo", 92 + 2 * 46),
        ("streamed", "exact", "native", "mezo", 2 * 40),  # of the largest tensor
        ("pair", "exact", "native", "fzoo", 9 * 46),
        ("pair", "exact", "native", "made_up", 16 * 46),  # no more points than that at once
    ],
)
def test_what_is_held_of_the_weights_beside_them(engine, restore, precision, estimator, held):
    """Of tensors of 20 and 3 entries, of 2 bytes each."""
    own = replace(shapes("llama2-7b"), scope=((4, 5), (3,)), itemsize=2)
    many = SimpleNamespace(forwards_per_step=40)
    cls = many if estimator == "made_up" else load_plugins().estimator(estimator)
    planned = PlannedMethod(cls, {}, computation_from({"precision": precision}), own, "cuda")
    assert planned._theta(own, engine, restore) == held


def test_a_pass_over_weights_has_three_tensors_of_the_largest_size_in_hand():
    own = replace(shapes("llama2-7b"), scope=((4, 5), (3,)), itemsize=2)
    wish = computation_from({})
    on = {device: PlannedMethod(load_plugins().estimator("mezo"), {}, wish, own, device) for device in ("cpu", "cuda")}
    assert on["cuda"]._noise(own, "flat") == on["cpu"]._noise(own, "official") == 3 * 4 * 20
    assert on["cpu"]._noise(own, "flat") == 3 * 4 * 20 + 4 * 23, "and all of it, kept for the move"


LEAN, HALF, FEWER = "engine=flat with restore=arithmetic", "--dtype bfloat16", "batch_size=8 (another protocol)"


@pytest.mark.parametrize(
    ("itemsize", "asked", "batch_size", "named"),
    [
        (4, {}, 16, {LEAN, HALF, FEWER, ONE_BLOCK}),
        (2, {}, 16, {LEAN, FEWER, ONE_BLOCK}),
        (4, {"restore": "arithmetic"}, 16, {HALF, FEWER, ONE_BLOCK}),
        (4, {}, 1, {LEAN, HALF, ONE_BLOCK}),
    ],
)
def test_ways_to_less_are_those_that_are_not_taken_yet(itemsize, asked, batch_size, named):
    own = replace(shapes("llama2-7b"), itemsize=itemsize, weights=itemsize * shapes("llama2-7b").parameters)
    wish = computation_from({"noise": "philox", **asked})
    rules = protocol_from({"batch_size": batch_size})
    cell = SimpleNamespace(estimator_settings={}, computation=wish, protocol=rules)
    planned = PlannedMethod(load_plugins().estimator("mezo"), {}, wish, own, "cuda")
    ways = planned.ways(cell, 141 * GIB)
    assert set(ways) == named
    peak = planned.account(141 * GIB).peak
    saved = memory_of(cell, own, 141 * GIB, load_plugins().estimator("mezo")).ways
    assert saved == {way: peak - left for way, left in ways.items() if left < peak} and saved
    if HALF in ways:
        assert ways[HALF] < 0.6 * peak


@pytest.mark.parametrize(
    ("batch_size", "half"), [(2, "batch_size=1 (another protocol)"), (3, "batch_size=1 (another"), (1, "")]
)
def test_half_a_batch_is_a_way_where_there_is_a_half(batch_size, half):
    own, wish = shapes("llama2-7b"), computation_from({"speed_steps": 0})
    cell = SimpleNamespace(estimator_settings={}, computation=wish, protocol=protocol_from({"batch_size": batch_size}))
    planned = PlannedMethod(load_plugins().estimator("mezo"), {}, wish, own, "cuda")
    named = [way for way in planned.ways(cell, 141 * GIB) if way.startswith("batch_size")]
    assert [way[: len(half)] for way in named] == ([half] if half else [])
    assert planned.account(141 * GIB).speed == 0, "where no speed is measured it takes nothing"
