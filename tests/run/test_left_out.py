"""Tensors of a model's files that it has no place for: told when it is loaded, and in every record."""

import torch
from kits.run_kit import World, run, save_data, save_model
from safetensors.torch import load_file, save_file

from zobench.plugins.registry import load_plugins


def test_what_is_left_out_of_a_model_is_told_and_in_the_record(tmp_path):
    world = World(save_model(tmp_path / "model"), save_data(tmp_path / "data"))
    weights = world.model / "model.safetensors"
    more = {"v_head.summary.weight": torch.zeros(1, 16)}
    save_file({**load_file(weights), **more}, weights, metadata={"format": "pt"})
    told = []
    [record] = run(world, tmp_path / "runs", ["zero_shot"], plugins=load_plugins(warn=told.append))
    said = "its files hold 1 tensors beside the language model, such as v_head.summary.weight"
    assert record["data"]["notes"]["model"] == said
    assert [line for line in told if said in line]
