"""Counter-based noise in whole cells: what the record says of it, and the same numbers again."""

import copy

import pytest
import torch
from kits.run_kit import numbers, run

from zobench.errors import ZobenchError
from zobench.models.load import load_model
from zobench.plugins.registry import load_plugins
from zobench.run.replay import rebuild


@pytest.mark.parametrize("settings", [{"engine": "flat"}, {"engine": "pair", "dtype": "bfloat16"}], ids=str)
def test_a_record_says_what_drew_it_and_a_rerun_gives_the_same(world, tmp_path, settings):
    made = [run(world, tmp_path / name, ["mezo"], noise="philox", **settings)[0] for name in ("one", "two")]
    assert [record["status"] for record in made] == ["ok", "ok"], made[0]["error"]
    assert made[0]["engine"]["noise"] == "philox" and made[0]["engine"]["kernels"] == "torch"
    assert numbers(made[0]) == numbers(made[1])
    (other,) = run(world, tmp_path / "other", ["mezo"], **settings)
    assert "kernels" not in other["engine"], "only of noise that kernels may draw"
    assert other["trials"] != made[0]["trials"] and other["id"] != made[0]["id"]


def test_weights_are_not_rebuilt_where_noise_is_drawn_otherwise(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], noise="philox", lrs=(1e-2,))
    loaded = load_model(str(world.model), dtype="float32", device="cpu", offline=True)
    weights = rebuild(record, tmp_path, loaded, load_plugins())
    assert all(torch.isfinite(t).all() for t in weights.values()) and weights
    elsewhere = copy.deepcopy(record)
    elsewhere["engine"]["kernels"] = "triton"
    with pytest.raises(ZobenchError, match="drawn by triton, and would be by torch here"):
        rebuild(elsewhere, tmp_path, loaded, load_plugins())
