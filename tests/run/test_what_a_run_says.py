"""What a run says of shares, pace, changed code and less memory; which looks and scores it takes together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from kits.records import record

from zobench import ZobenchError
from zobench.run import kin, outcome, plan, prefix, propagation, speed, zero_shot
from zobench.run.place import Place
from zobench.run.ranked import RankedObjective
from zobench.scopes.scope import Scope
from zobench.tasks.score import Score


@pytest.mark.parametrize(
    ("shard", "cells"), [((1, 1), "abcde"), ((1, 2), "ace"), ((2, 2), "bd"), ((3, 3), "c"), ((6, 6), "")]
)
def test_a_share_is_every_nth_cell(shard, cells):
    assert "".join(plan.share("abcde", shard)) == cells


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_plan_for_another_gpu_has_no_device_of_this_machine(device):
    with pytest.raises(ZobenchError, match=f"--device {device} is here"):
        Place("m", device=device).elsewhere()


def test_a_cache_ends_below_the_lowest_block_in_whatever_order_a_scope_is(world, tmp_path):
    from kits.run_kit import plan as planned

    loaded = planned(world, tmp_path, ["mezo"])[0].session.loaded
    named = [(n, p) for n, p in loaded.model.named_parameters() if ".layers.1." in n or ".layers.2." in n]
    for own in (named, named[::-1]):
        assert prefix.prefix_cache(loaded, Scope(own, layers=(1, 2))).at == 1


def test_how_far_a_perturbation_reaches_is_the_mean_of_both_sides(monkeypatch):
    streams = iter([[torch.tensor([2.0])], [torch.tensor([3.0])], [torch.tensor([4.0])]])
    monkeypatch.setattr(propagation, "_streams", lambda loaded, batch: next(streams))
    monkeypatch.setattr(propagation, "block_scope", lambda loaded, index: None)
    monkeypatch.setattr(propagation, "look", lambda scope, forward, **how: [forward(), forward()])
    loaded = SimpleNamespace(blocks=[SimpleNamespace(index=0)])
    (one,) = propagation.reached(loaded, "t", ["batch"], seeds=[7], eps=0.1)
    assert one == {"task": "t", "block": 0, "seed": 7, "batch": 0, "change": [pytest.approx(0.75)]}


@pytest.mark.parametrize(
    ("batched", "weight", "together"), [(True, 0.5, True), (True, 0.0, False), (False, 0.5, False)]
)
def test_a_rank_without_examples_looks_at_nothing_together(batched, weight, together):
    made = RankedObjective.made(SimpleNamespace(batched=batched), None, "batch 1", weight, [])
    assert made.batched is together


def test_an_interval_of_a_speed_up_is_around_it_by_a_factor(monkeypatch):
    monkeypatch.setattr(speed, "share_of_ratio", lambda there, here: 0.25)
    times = {"forward_s": 1.0, "perturb_s": 0.5, "update_s": 0.5, "step_s": 2.0}
    own = SimpleNamespace(counted=[times] * 3, seconds=[2.0] * 3, warmup=1)
    baseline = speed.Baseline("c", 0, (8.0,) * 4, {**times, "step_s": 8.0})
    info = speed._info(baseline, own, "wall")
    assert info["ratio"] == 4.0 and info["interval"] == [pytest.approx(3.2), pytest.approx(5.0)]
    assert (info["steps"], info["warmup"], info["clock"]) == (3, 1, "wall")


def test_code_that_changed_is_named_and_other_code_is_not():
    """Of two plugins the one; where none did, the numerics of zobench itself."""
    old = record(code={"a.py": "1", "b.py": "1"})
    told: list[str] = []
    for code, numerics in (({"a.py": "1", "b.py": "2"}, {}), ({"a.py": "1", "b.py": "1"}, {"numerics": 2})):
        key = {**old["cell"], "code": code, **numerics}
        protocol = SimpleNamespace(record=lambda: old["protocol"])
        cell = SimpleNamespace(id="new", key=lambda key=key: key, protocol=protocol, code=code)
        kin.tell_of_changed_code([cell], {old["id"]: old}, SimpleNamespace(warn=told.append))
    assert [line.partition(" changed since ")[0] for line in told] == ["b.py", "zobench"]


@pytest.mark.parametrize(("size", "fewer"), [(1, None), (2, 1), (4, 1), (16, 4)])
def test_fewer_items_at_once_are_one_at_least(size, fewer):
    computed = SimpleNamespace(speed_steps=0, engine="flat", restore="arithmetic", dtype="bfloat16")
    rules = SimpleNamespace(batch_size=1, eval_batch_size=size)
    cell = SimpleNamespace(computation=computed, protocol=rules, selector="layer")
    said = outcome.less_memory(cell, SimpleNamespace(everything=("all",), one_block=("layer",)))
    assert said == ("a smaller model, or a larger machine" if fewer is None else f"eval_batch_size={fewer}")


def test_the_score_of_an_earlier_run_is_taken_unless_it_is_asked_anew(tmp_path):
    taken: list[str] = []

    def take(run: str) -> Score:
        taken.append(run)
        return Score("accuracy", 0.5, 2, 0.1, [0.0, 1.0], 1, [0, 1])

    for run, anew in (("r", False), ("s", False), ("s", True), ("s", True), ("t", False)):
        zero_shot.shared(tmp_path, {"task": "t"}, lambda run=run: take(run), run=run, anew=anew)
    assert taken == ["r", "s"]
