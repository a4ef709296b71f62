"""The text is the one that the embedded model was trained on, document by document."""

import hashlib
import json
from random import Random

import pytest
from zobench_world import text
from zobench_world.model import WEIGHTS
from zobench_world.pretrain.generated import Generated
from zobench_world.pretrain.recipe import PRESETS
from zobench_world.pretrain.tokenizer import load_tokenizer

PINNED = {
    "copied": "fa110eb9f03d",
    "paired": "6f25fed82ffa",
    "recalled": "911cca27e82d",
    "restated": "3705a98a8812",
    "answered": "5448b39141f9",
    "listed": "abd8d955ebe2",
    "checked": "992a858b9b6b",
    "weighed": "c661c154ecf5",
    "believed": "96b9cbcc227b",
    "counted": "1c7e68b38c0e",
    "reviewed": "b6c9b05bb4a3",
    "caused": "1de045bcc24c",
    "pronounced": "0f22cbe0f4ac",
    "compared": "8e23a2d35816",
    "talked": "271b6b4a277e",
    "joined": "21d8e0ee39b6",
    "agreed": "52700404ce6a",
    "matched": "8fe929e8953b",
    "praised": "e7fb33fad66b",
}
"""Kind of document -> digest of sixty at each of six places of the training."""


def digest(made):
    return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:12]


def test_the_weights_say_which_text_they_were_trained_on_and_it_is_that_of_this_package():
    said = json.loads((WEIGHTS / "training.json").read_text(encoding="utf-8"))
    made = Generated(text.document, load_tokenizer(WEIGHTS), PRESETS["embedded"])
    assert said["text"]["digest"] == made.digest() == "1930b2bd2dcb62a1"


def test_the_preset_is_what_the_weights_were_trained_with():
    said = json.loads((WEIGHTS / "training.json").read_text(encoding="utf-8"))["settings"]
    own = json.loads(json.dumps(vars(PRESETS["embedded"])))
    assert {key: value for key, value in own.items() if said.get(key) != value} == {"dtype": "auto", "compile": False}
    usual = {"bias_std": 0.0, "bias_blocks": 2, "mimetic": 0.0, "decay_from": 0.6, "final_lr": 0.02, "cycles": ()}
    usual |= {"weight_decay": 0.1, "beta2": 0.95, "clip": 1.0}
    assert usual.items() <= vars(PRESETS["reference"]).items()


@pytest.mark.parametrize("kind", text.KINDS, ids=lambda kind: kind.__name__)
def test_a_document_is_a_function_of_the_generator_and_how_far_training_is(kind):
    """Where this fails, a training makes another model than the one in the package: pin what is made now."""
    progress = (0.0, 0.3, 0.7, 1.0, 1.5, 2.0)
    assert digest([kind(Random(f"{n}"), at) for at in progress for n in range(60)]) == PINNED[kind.__name__]


def test_which_kinds_are_drawn_when():
    assert digest([text.document(Random(f"{n}"), n / 200) for n in range(400)]) == "f490d8791b62"
    assert digest([text.STAGES, {kind.__name__: often for kind, often in text.KINDS.items()}]) == "6f9a5bee361a"
    assert set(PINNED) == {kind.__name__ for kind in text.KINDS}
