"""A finished model goes on with a further cycle."""

import json
from statistics import mean

import pytest
import torch
from kits.pretrain_kit import SMALL_EXTENSION, log_of, tiny, train
from safetensors.torch import load_file
from zobench_world.pretrain.loop import LOG, Training

from zobench.errors import ZobenchError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


def facts(folder):
    return json.loads((folder / "training.json").read_text())


def test_a_further_cycle_begins_with_the_weights(finished, tmp_path):
    watcher, said = train(tmp_path, tiny(**SMALL_EXTENSION), extend=finished)
    assert len(watcher.losses) == 5 and any("step 7" in line for line in said)
    of_lines = [watcher.losses[:1], watcher.losses[1:3], watcher.losses[3:]]
    assert [line["train_loss"] for line in watcher.lines] == pytest.approx([mean(losses) for losses in of_lines])
    before, after = facts(finished), facts(tmp_path)
    assert after["steps"] == 12 and after["tokens"] > before["tokens"] and after["seconds"] > before["seconds"]
    assert [sitting["from_step"] for sitting in after["sittings"]] == [0, 7]
    assert all(sitting["dtype"] == "float32" for sitting in after["sittings"])
    assert (tmp_path / "tokenizer.json").read_bytes() == (finished / "tokenizer.json").read_bytes()
    old, new = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path))
    apart = {name: float((old[name] - new[name]).abs().max()) for name in old}
    assert 0 < max(apart.values()) < 0.1  # a few steps away, and not another beginning


def test_it_is_the_same_again_and_when_interrupted(finished, tmp_path):
    for name in ("one", "two"):
        train(tmp_path / name, tiny(**SMALL_EXTENSION), extend=finished)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "three", tiny(**SMALL_EXTENSION), extend=finished, stop=9)
    train(tmp_path / "three", tiny(**SMALL_EXTENSION), extend=finished)
    first, *others = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two", "three"))
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert log_of(tmp_path / "one") == log_of(tmp_path / "three")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"steps": 12, "cycles": (8,)}, r"7 steps in cycles from \[\] on, and not \(8,\)"),
        ({"steps": 12, "cycles": (3, 7)}, r"7 steps in cycles from \[\] on, and not \(3, 7\)"),
        ({**SMALL_EXTENSION, "hidden": 32, "lr": 1.0}, "hidden 16 and not 32, lr 0.002 and not 1.0"),
    ],
)
def test_a_model_of_another_recipe_is_not_extended(finished, tmp_path, given, match):
    with pytest.raises(ZobenchError, match=match):
        train(tmp_path, tiny(**given), extend=finished)


def test_only_a_finished_model_is_extended(finished, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZobenchError, match="is no finished model"):
        train(tmp_path / "out", tiny(**SMALL_EXTENSION), extend=tmp_path / "empty")


@pytest.mark.parametrize("half", ["", '{"step": 9, "lo', '{"step": 12}'])
def test_lines_of_steps_that_will_be_done_again_are_forgotten(tmp_path, half):
    training = object.__new__(Training)
    training.folder = tmp_path
    training._forget_lines_after(3)
    assert training._lines() == []
    lines = [json.dumps({"step": step, "loss": 1.5}) for step in (1, 3, 4, 6)]
    (tmp_path / LOG).write_text("\n".join([*lines, half]))
    training._forget_lines_after(4)
    assert training._lines() == lines[:3]
