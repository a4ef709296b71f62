"""Model folders with values changed at random: each loads, or is refused in one line."""

import json
import random
import shutil

import pytest
import transformers as tf
from test_folder_faults import INDEX, WEIGHTS, llama, shard, tokenizer

from zobench.errors import ZobenchError
from zobench.models.load import load_model

SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX)
ODD = [None, True, -1, 0, 1.5, 10**18, 1e308, float("nan"), "", "x", "\udcff", "a\nb", "../x", [], {}, [[]], {"a": 1}]


def places(value, at=()):
    """The places of all values inside a JSON value."""
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*at, key))


def changed(value, rng):
    """With one value inside replaced by an odd one, or left out."""
    *outer, last = rng.choice([place for place in places(value) if place] or [(None,)])
    if last is None:
        return rng.choice(ODD)
    inner = value
    for key in outer:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = rng.choice(ODD)
    return value


def spoil(folder, name, rng):
    """One to four changes of a file; of weights, to the bytes of their header."""
    path = folder / name
    if name == WEIGHTS:
        content = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 1, 3, 20])):
            content[rng.randrange(min(len(content), rng.choice([8, 40, 2000])))] = rng.randrange(256)
        path.write_bytes(bytes(content))
        return
    value = json.loads(path.read_text())
    for _ in range(rng.choice([1, 1, 2, 4])):
        value = changed(value, rng) if isinstance(value, dict | list) else value
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("seed", "cases"), [(0, 60), *(pytest.param(seed, 500, marks=pytest.mark.slow) for seed in range(1, 5))]
)
def test_a_folder_changed_at_random_loads_or_is_refused_in_a_line(seed, cases, tmp_path):
    rng, whole, parts = random.Random(seed), tmp_path / "whole", tmp_path / "parts"
    tf.utils.logging.disable_progress_bar()
    llama().save_pretrained(whole)
    tokenizer().save_pretrained(whole)
    shard(shutil.copytree(whole, parts))
    refused = 0
    for case in range(cases):
        name = rng.choice([*SETTINGS, WEIGHTS])
        folder = shutil.copytree(parts if name == INDEX else whole, tmp_path / f"case{case}")
        spoil(folder, name, rng)
        try:
            load_model(str(folder), device="cpu")
        except ZobenchError as error:
            assert "\n" not in str(error)
            refused += 1
        shutil.rmtree(folder)
    assert 0 < refused < cases
