"""What of the data is read, and when: test once, after training; no selector sees it."""

from __future__ import annotations

import json

import pytest
import torch
from kits.run_kit import (
    LAYERS,
    World,
    carry_out,
    plan,
    run,
    save_data,
)

from zobench.errors import ZobenchError
from zobench.run import stages as runner_module
from zobench.run.selection import RunSelectionContext
from zobench.run.train import Feed
from zobench.tasks.prepared import PreparedTask


def test_test_is_read_once_a_cell_after_training_and_the_untouched_model_once_a_task(world, tmp_path, events):
    run(world, tmp_path, ["mezo", "adamw"], tasks=["sst2", "copa"], lrs=(1e-3, 1e-4))
    cell = ["batch", "batch", "dev loss"] * 4 + ["dev", "test"]
    task = [*cell, "test", *cell]
    assert events == task * 2


def test_the_untouched_score_is_that_of_a_zero_shot_cell(world, tmp_path):
    zero, mezo, lora = run(world, tmp_path, ["zero_shot", "mezo", "lora_zo"], tasks=["copa"], scored_in="rows")
    assert zero["metrics"]["test"] == zero["metrics"]["zero_shot"]
    assert mezo["metrics"]["zero_shot"] == lora["metrics"]["zero_shot"] == zero["metrics"]["test"]
    (alone,) = run(world, tmp_path / "alone", ["lora_zo"], tasks=["copa"], scored_in="rows")
    assert alone["metrics"] == lora["metrics"]
    assert alone["forwards"] == lora["forwards"]  # the score is counted also where it was taken before
    assert mezo["forwards"]["eval"] - zero["forwards"]["eval"] == 4 - 2 + 2  # test twice and dev losses, to dev's score


def test_test_items_change_nothing_but_the_test_scores(world, tmp_path):
    """Other test items altogether: selection, trials and choice stay, to the last bit."""
    other = save_data(tmp_path / "data")
    lines = [json.dumps({"sentence": f"terrible, {i} times awful", "label": 0}) for i in range(8)]
    (other / "sst2" / "validation.jsonl").write_text("\n".join(lines))
    settings = {"exhaustive_sweep__steps": 2, "exhaustive_sweep__by": "dev_metric"}
    (one,) = run(world, tmp_path / "one", ["mezo"], ["exhaustive_sweep"], **settings)
    (two,) = run(World(world.model, other), tmp_path / "two", ["mezo"], ["exhaustive_sweep"], **settings)
    assert one["cell"]["data_revision"] != two["cell"]["data_revision"]
    for key in ("selection", "trials", "chosen", "scope"):
        assert one[key] == two[key]
    assert one["metrics"]["dev"] == two["metrics"]["dev"]


def test_a_selector_sees_training_items_and_no_test_item(world, tmp_path, events):
    run(world, tmp_path, ["mezo"], ["exhaustive_sweep"], exhaustive_sweep__steps=2, exhaustive_sweep__by="dev_metric")
    selecting = ["batch", "batch", "dev loss", "dev"] * LAYERS
    assert events[: len(selecting)] == selecting
    public = {name for name in dir(RunSelectionContext) if not name.startswith("_")}
    assert public == {"blocks", "calibration", "count", "everything", "layers", "loss", "note", "probe"}


def test_calibration_is_the_training_order(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    cell = made.todo[0]
    prepared, _ = made.session.prepared("sst2", cell.protocol)
    loaded = made.session.loaded
    context = RunSelectionContext(loaded, prepared, None, cell.protocol, lr=1e-3, seed=0, progress=str)
    whole = [b.input_ids for b in context.calibration(4, 3)]
    text = [loaded.tokenizer.decode(row, skip_special_tokens=True) for ids in whole for row in ids]
    assert len(set(text)) == 24  # 12 training items, two candidates each: one epoch
    assert not {t for t in text for i in range(24, 32) if f"film {i} " in t}
    assert set(vars(context)) == {
        "loaded", "seed", "forwards", "facts", "_prepared", "_method", "_protocol", "_lr", "_progress", "_guard",
        "_diary",
    }  # fmt: skip
    with pytest.raises(ZobenchError, match="has decoder blocks 0 to 2, not 3"):
        context.layers(3)
    with pytest.raises(ZobenchError, match="no decoder blocks"):
        context.layers()


def test_selectors_have_the_seed_of_the_cell(world, tmp_path, monkeypatch):
    seeds: list[int] = []
    made, place = plan(world, tmp_path / "told", ["mezo"], seeds=(5,))

    class Told(runner_module.RunSelectionContext):
        def __init__(self, *args, **options):
            seeds.append(options["seed"])
            super().__init__(*args, **options)

    monkeypatch.setattr(runner_module, "RunSelectionContext", Told)
    carry_out(made, place)
    assert seeds == [5]


def test_further_batches_are_not_those_of_the_steps(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    cell, loaded = made.todo[0], made.session.loaded
    prepared, _ = made.session.prepared("sst2", cell.protocol, "replicated")
    feed = Feed(loaded, prepared, 3, seed=0)
    own = [feed.objective() for _ in range(4)]
    further = own[0].fresh().batch, own[1].fresh().batch
    assert not any(same_batch(f, o.batch) for f, o in zip(further, own, strict=False))
    orders = Feed(loaded, prepared, 3, seed=0)
    assert [next(orders.order) for _ in range(4)] != [next(orders.extra_order) for _ in range(4)]


def same_batch(a, b):
    return a.input_ids.shape == b.input_ids.shape and torch.equal(a.input_ids, b.input_ids)


def test_scores_are_read_at_the_chosen_checkpoint(world, tmp_path, monkeypatch):
    train, score, best, seen = runner_module.train, PreparedTask.test_score, {}, []

    def trained(*args, **options):
        out = train(*args, **options)
        best.update(out.best)
        return out

    def scored(self, model, *more):
        seen.append({name: p.detach().clone() for name, p in model.named_parameters() if name in best})
        return score(self, model, *more)

    monkeypatch.setattr(runner_module, "train", trained)
    monkeypatch.setattr(PreparedTask, "test_score", scored)
    run(world, tmp_path, ["mezo"], ["layer:1"], lrs=(1e-1,))
    own, untouched = seen
    assert all(torch.equal(own[name], best[name]) for name in best)
    assert not any(torch.equal(own[name], untouched[name]) for name in best)
