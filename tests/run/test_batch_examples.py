"""A run offers each example of its batches alone, and what enters its layers: cells of methods that ask for them."""

from __future__ import annotations

import pytest
import torch
from kits.run_kit import plan, run

from zobench.run.train import Feed


@pytest.mark.parametrize("rows", ["shared", "replicated"])
def test_the_batchs_loss_is_the_mean_of_its_examples(world, tmp_path, rows):
    made, _ = plan(world, tmp_path, ["mezo"], engine="flat", rows=rows)
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol, rows)
    whole = Feed(session.loaded, prepared, 3, 0).objective()
    alone = [one() for one in whole.examples()]
    assert len({float(loss) for loss in alone}) == 3
    assert float(torch.stack(alone).mean()) == pytest.approx(float(whole()), abs=1e-5)


def test_cells_that_look_at_examples_and_at_inputs(world, tmp_path):
    records = run(world, tmp_path, ["grzo", "agzo"], engine="flat", lrs=(1e-6,))
    assert [record["status"] for record in records] == ["ok", "ok"]
    for record in records:
        assert record["forwards"]["train"] == 2 * 4 * len(record["trials"]), "2 a step, of 4 steps"
