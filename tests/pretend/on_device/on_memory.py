"""Cells of a small LLaMA, on cards as much smaller as it is than LLaMA2-7B: planned, measured, and no more."""

from __future__ import annotations

import functools
import gc
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kits import pretend_cuda, run_kit
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zobench.directions.noise import philox
from zobench.engine import base
from zobench.run import checksum
from zobench.run.cell_shapes import shapes_of
from zobench.run.memory_account import memory_of
from zobench.run.selection import everything

UNIT = 3_688_960 / 12.6
"""What stands for a gigabyte: the model has so many bytes where LLaMA2-7B has 12.6 GB."""
# the largest tensor is 10 % of this model and 2 % of LLaMA2-7B: methods that keep state have 8 of its size in hand
ROOMS = (24, 48, 80, 141)
SIZES = {
    "batch_size": 2,
    "speed_steps": 1,
    "speed_warmup": 0,
    "num_dev": 2,
    "num_test": 2,
    "steps": 2,
    "eval_every": 1,
    "num_train": 4,
}


@functools.cache
def world() -> run_kit.World:
    """12.6 of our gigabytes of float16 weights."""
    folder = Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    sizes = dict(hidden_size=256, intermediate_size=688, num_hidden_layers=2, num_attention_heads=4, vocab_size=512)
    config = LlamaConfig(**sizes, max_position_embeddings=128, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    special = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(run_kit.TOKENIZER), **special)
    tokenizer.save_pretrained(folder / "model")
    return run_kit.World(folder / "model", run_kit.save_data(folder / "data"))


@pytest.fixture(autouse=True)
def scaled(monkeypatch):
    """What does not grow with a model is small too."""
    monkeypatch.setattr(checksum, "AT_ONCE", 2**14)
    monkeypatch.setattr(checksum, "LANE", 2**10)
    checksum._weights.cache_clear()
    monkeypatch.setattr(philox, "PART_OF_A_GPU", 2**13)
    monkeypatch.setattr("zobench.directions.fused.PART_OF_A_GPU", 2**13)
    monkeypatch.setattr("zobench.directions.together.PART_OF_A_GPU", 2**13)
    monkeypatch.setattr("zobench.run.memory_account.PART_OF_A_GPU", 2**13)
    monkeypatch.setattr(base, "DRAWN_BYTES_OF_A_GPU", 2**14)
    monkeypatch.setattr(run_kit, "Place", lambda *a, **k: replace(place(*a, **k), device="cuda"))
    yield
    checksum._weights.cache_clear()
    pretend_cuda.install(2)


place = run_kit.Place


def cell(tmp_path, room: int, estimator: str, **settings):
    """The record of a cell, three rates over all weights, on a card of so many of our gigabytes; and its model."""
    settings = {"dtype": "float16", "noise": "philox", **SIZES, **settings}
    made, where = run_kit.plan(world(), tmp_path, [estimator], lrs=(1e-4, 1e-5, 2e-4), **settings)
    assert (
        made.session.loaded.device.type == "cuda"
    )  # loaded before: transformers warms up with more than this card has
    gc.collect()  # models of earlier cells
    pretend_cuda.install(1, int(room * UNIT))
    (record,) = run_kit.carry_out(made, where)
    return record, made


@pytest.mark.parametrize(("room", "estimator"), [*((room, "mezo") for room in ROOMS), (66, "hizoo"), (88, "zo_adam")])
def test_a_cell_fits_and_holds_what_was_planned(tmp_path, room, estimator):
    record, _ = cell(tmp_path, room, estimator)
    assert record["status"] == "ok", record["error"]
    memory = record["memory"]
    assert memory["weights_bytes"] == pytest.approx(12.6 * UNIT, rel=0.05)
    assert memory["peak_bytes"] <= memory["planned_bytes"] * 1.05 <= room * UNIT * 1.05
    assert memory["peak_bytes"] >= memory["planned_bytes"] * 0.6
    assert memory["planned_host_bytes"] <= 2 * memory["weights_bytes"]
    assert memory["speed_peak_bytes"] <= room * UNIT
    if (room, estimator) == (24, "mezo"):
        assert memory["peak_bytes"] <= 1.3 * memory["weights_bytes"]
        assert record["engine"]["restore"] == "arithmetic"


def test_memory_that_runs_out_is_a_record_that_names_the_mend_with_its_bytes(tmp_path):
    record, _ = cell(tmp_path, 24, "hizoo")
    assert record["status"] == "oom"
    assert "less memory is taken with batch_size=1 (another protocol) (" in record["error"]
    assert record["memory"]["planned_bytes"] > 24 * UNIT


def test_an_outline_has_the_shapes_of_the_model(tmp_path):
    _, made = cell(tmp_path, 141, "mezo", steps=1, eval_every=1)
    loaded, outline = made.session.loaded, made.outline.loaded
    assert shapes_of(outline, everything(outline)) == shapes_of(loaded, everything(loaded))
    one = made.todo[0]
    cls = made.plugins.estimator("mezo")
    assert memory_of(one, shapes_of(outline, everything(outline)), int(24 * UNIT), cls).restore == "arithmetic"
    assert memory_of(one, shapes_of(outline, everything(outline)), int(141 * UNIT), cls).copies == "device"


def test_memory_of_cuda_graphs_is_in_the_account(tmp_path):
    made = {}
    for wish in ("off", "on"):
        pretend_cuda.install(2)
        made[wish] = cell(tmp_path / wish, 141, "mezo", cuda_graphs=wish)[0]  # without its model
        assert made[wish]["status"] == "ok", made[wish]["error"]
    with_graphs, without = made["on"]["memory"], made["off"]["memory"]
    assert with_graphs["planned_bytes"] > without["planned_bytes"]
    assert without["peak_bytes"] < with_graphs["peak_bytes"] <= with_graphs["planned_bytes"] * 1.05
    assert made["on"]["engine"]["graphs"] > 0 and "graphs" not in made["off"]["engine"]
    assert made["on"]["id"] != made["off"]["id"]
    assert made["on"]["cell"]["run_settings"]["cuda_graphs"] == "on"
    trained, plain = (made[wish]["forwards"] for wish in ("on", "off"))
    assert trained | {"speed": 0} == plain | {"speed": 0}
    assert trained["speed"] > plain["speed"]  # steps that capture are taken before those that are timed
