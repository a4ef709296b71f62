"""Whether points go through a model side by side is tried on the model itself."""

from dataclasses import replace

import pytest
import torch
from kits.matrix import covering
from kits.run_kit import plan, run
from transformers import MixtralConfig, MixtralForCausalLM

from zobench.models.capabilities import points_together
from zobench.models.forward import Forward
from zobench.run.selection import everything
from zobench.run.train import Feed


def can(loaded, prepared):
    return points_together(loaded, Forward.of(loaded), prepared.rows == "packed")


@pytest.mark.parametrize("rows", ["packed", "shared", "replicated"])
def test_decoders_with_the_batch_first_can(world, tmp_path, rows):
    made, _ = plan(world, tmp_path, ["mezo"], rows=rows)
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, rows)
    assert can(session.loaded, prepared)
    feed = Feed(session.loaded, prepared, 2, 0)
    for engine, batched in (("pair", True), ("streamed", True), ("flat", False)):
        mezo = session.plugins.estimator("mezo")(everything(session.loaded), 1e-3, engine=engine)
        feed.batches_for(mezo)
        assert feed.objective().batched == batched


class Chosen(torch.nn.Module):
    """An MLP that is given only the tokens chosen for it, as an expert is."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def forward(self, x):
        out, chosen = torch.zeros_like(x), x[..., 0] > x[..., 0].median()
        out[chosen] = self.mlp(x[chosen])
        return out


def test_a_module_that_is_given_chosen_tokens_cannot(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], rows="shared")
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, "shared")
    block = session.loaded.blocks[1].module
    block.mlp = Chosen(block.mlp)
    assert not can(session.loaded, prepared)


def test_experts_that_are_given_all_tokens_can(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], rows="shared")
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, "shared")
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=512)
    config = MixtralConfig(**sizes, num_key_value_heads=1, num_local_experts=4)
    model = MixtralForCausalLM(config).eval().requires_grad_(False)
    assert can(replace(session.loaded, model=model), prepared)


def test_a_loss_that_generates_cannot(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"], tasks=["squad"], train_loss="non_diff")
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, "auto")
    feed = Feed(session.loaded, prepared, 2, 0)
    feed.batches_for(session.plugins.estimator("mezo")(everything(session.loaded), 1e-3, engine="pair"))
    assert not feed.objective().batched


@pytest.mark.parametrize(("task", "engine"), covering(["sst2", "copa", "squad"], ["pair", "streamed"]))
def test_a_cell_gives_the_numbers_of_flat(world, tmp_path, engine, task):
    made, settings = {}, {"train_loss": "non_diff"} if task == "squad" else {}
    for name in (engine, "flat"):
        (made[name],) = run(
            world, tmp_path / name, ["mezo"], ["layer"], [task], engine=name, layer__index=1, **settings
        )
        assert made[name]["status"] == "ok", made[name]["error"]
        assert made[name]["engine"].get("points") == ("together" if name != "flat" and task != "squad" else None)
        assert made[name]["engine"]["last_block"] == "answers"
    curves = [[loss for _, loss in record["trials"][0]["curve"]] for record in made.values()]
    assert curves[0] == pytest.approx(curves[1], abs=2e-4)
    assert made[engine]["metrics"]["test"]["items"] == made["flat"]["metrics"]["test"]["items"]
    assert made[engine]["forwards"] == made["flat"]["forwards"]
