"""What a model answers right, by the kind of document, and the card that says it."""

from types import SimpleNamespace

import pytest
import torch
from zobench_world import text
from zobench_world.cards import CARDS
from zobench_world.pretrain.card import render
from zobench_world.pretrain.skills import Skill, skills
from zobench_world.pretrain.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    words = "Anna Ben apple book drum True False is has the a . \n".split(" ")
    return train_tokenizer([" ".join(words)] * 9, vocab=400, bos=True, context=128)


def asked(rng, progress):
    """Two answers: a word of two tokens' worth of weight, and one word; `progress` must be the end of training."""
    assert progress == 1.0
    return [("Anna has", 0.1), (rng.choice((" apple book", " book apple")), 1.0), (". Ben", 0.1), (" drum", 1.0)]


def silent(rng, progress):
    return [("Anna has a drum.", 0.1)]


def knows(shift):
    """A model that foretells the next token, or one beside it."""

    def model(input_ids):
        after = torch.roll(input_ids, -1, dims=1) + shift
        return SimpleNamespace(logits=torch.nn.functional.one_hot(after, 500).float())

    return model


def test_the_first_token_of_each_answer_is_asked_for(tokenizer):
    assert skills(knows(0), tokenizer, {asked: 1, silent: 1}, documents=7) == {"asked": Skill(14, 14)}
    assert skills(knows(1), tokenizer, {asked: 1}, documents=7) == {"asked": Skill(0, 14)}


def test_only_answers_within_the_row_are_asked_for(tokenizer):
    short = len(tokenizer("Anna has apple").input_ids) + 1
    assert skills(knows(0), tokenizer, {asked: 1}, documents=5, length=short)["asked"].asked == 5


def test_the_card_says_what_it_was_told():
    blocks = [
        {"block": n, "max": 10.5 + n, "median": 0.5, "ratio": 21.0 + 2 * n, "position": n, "token": "a"} for n in (0, 1)
    ]
    settings = dict(blocks=2, hidden=8, heads=2, intermediate=16, lr=2e-3, beta2=0.95, weight_decay=0.1, decay_from=0.4)
    settings |= dict(
        final_lr=0.02, batch=16, length=128, warmup=100, init_std=0.05, embed_std=0.1, bias_std=1.5, seed=3
    )
    settings |= dict(cycles=[1000], steps=1234, compile=True, dtype="bfloat16", mimetic=1.0)
    facts = {
        "settings": settings,
        "sittings": [
            {"from_step": 0, "device_name": "a chip", "threads": 2, "packages": {"torch": "9.9"}, "dtype": "bfloat16"},
            {
                "from_step": 1000,
                "device_name": "a slab",
                "threads": 8,
                "packages": {"torch": "9.9"},
                "dtype": "float32",
            },
        ],
        "steps": 1234,
        "tokens": 5_600_000,
        "seconds": 1800,
        "activations": blocks,
        "parameters": 1_920_000,
        "vocabulary": 1613,
        "text": {"digest": "abc"},
        "losses": {"train_loss": 0.5, "validation_loss": 0.625},
    }
    made = render(facts, {kind.__name__: Skill(3, 4) for kind in text.KINDS})
    for said in (
        "1.92 M",
        "1,234, 5.6 M (30 minutes)",
        "from step 0: a chip, 2 threads, torch 9.9, bfloat16; from step 1,000: a slab, 8 threads",
        "anew from steps 1,000 on",
        "--compile --dtype bfloat16",
        "mimetic",
        "0.625",
        "BOS",
    ):
        assert said in made
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in made.splitlines() if line.startswith("|")]
    assert ["0", "10.5", "0.5", "21", "BOS"] in rows and ["1", "11.5", "0.5", "23", "'a'"] in rows
    assert all(f"| {kind.__name__} " in made for kind in text.KINDS) and made.count("75%") == len(text.KINDS)
    assert all(card.skill in made for card in CARDS.values())
