"""What cells of well-known shapes hold on well-known cards, by the account: MeZO's batch, float16, all weights."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import pytest

from zobench.bench.shape_session import session_of
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from, protocol_from
from zobench.run.cell_shapes import shapes_of
from zobench.run.memory_account import activations, memory_of
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
