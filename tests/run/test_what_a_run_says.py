"""What a run says of shares, pace, changed code and less memory; which looks and scores it takes together."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from kits.records import record

from zobench import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import protocol_from
from zobench.run import kin, outcome, plan, prefix, propagation, routing, selection, speed, zero_shot
from zobench.run.batch_order import batches
from zobench.run.place import Place
from zobench.run.ranked import RankedObjective
from zobench.run.wish import Wish
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


@pytest.mark.parametrize(
    ("again", "agrees"), [(1.0, True), (1.09, True), (0.91, True), (1.11, False), (0.89, False), (0.1, False)]
)
def test_a_baseline_holds_while_it_is_neither_slower_nor_faster(again, agrees):
    baseline = speed.Baseline("c", 0, (5.0, 2.0, 2.0, 2.0), {})
    assert baseline.agrees([{"step_s": 2.0 * again}] * 3) is agrees


@pytest.mark.parametrize("seed", [0, 1])
def test_a_selector_is_calibrated_on_the_batches_of_its_seed(monkeypatch, seed):
    monkeypatch.setattr(selection, "on_device", lambda prepared, loaded, indices: indices)
    context = SimpleNamespace(_prepared=SimpleNamespace(train_size=64), loaded=None, seed=seed)
    given = selection.RunSelectionContext.calibration(context, 3, 4)
    assert given == list(itertools.islice(batches(64, 4, seed), 3))
    assert given != list(itertools.islice(batches(64, 4, 1 - seed), 3))


def test_a_probe_takes_the_forwards_of_all_its_purposes(monkeypatch):
    """Of training, of further batches, of dev."""
    forwards = {"train": 6, "extra": 3, "backward": 2}
    on = SimpleNamespace(estimator=SimpleNamespace(forwards=forwards))
    run = SimpleNamespace(eval_forwards=5, best_loss=0.5)
    monkeypatch.setattr(selection, "of_model", lambda scope, loaded, said: scope)
    for name in ("prefixed", "graphed"):
        monkeypatch.setattr(selection, name, lambda prepared, *given: prepared)
    monkeypatch.setattr(selection, "keeper", lambda loaded, size: None)
    monkeypatch.setattr(selection, "applied", lambda *given, **how: nullcontext(on))
    monkeypatch.setattr(selection, "train", lambda *given, **how: run)
    method = SimpleNamespace(computation=None)
    prepared = SimpleNamespace(dev_size=7)
    made = selection.RunSelectionContext(
        SimpleNamespace(), prepared, method, protocol_from({}), lr=1e-3, seed=0, progress=lambda text: None
    )
    found = made.probe(Scope([("w", torch.zeros(2))], layers=(1,)), 10)
    assert (found.forwards, found.dev_loss, found.n) == (16, 0.5, 7) and made.forwards == {"probe": 16}


@pytest.mark.parametrize(
    ("steps", "every", "trains", "taken"),
    [(10, 20, False, 10), (10, 20, True, 20), (10, 10, False, 10), (9, 3, True, 3)],
)
def test_looks_beyond_the_last_step_are_moved_where_nothing_trains_alone(steps, every, trains, taken):
    told: list[str] = []
    values = {"steps": steps, "eval_every": every}
    found = routing._clipped(values, [SimpleNamespace(trains=trains)], SimpleNamespace(warn=told.append))
    assert found == {"steps": steps, "eval_every": taken} and len(told) == (taken != every)


@pytest.mark.parametrize("first", ["eps", "mezo.eps"])
def test_a_setting_with_its_owner_goes_before_one_for_all_that_have_it(first):
    given = {"eps": "0.5", "mezo.eps": "0.25"}
    settings = {first: given.pop(first), **given}
    routed = routing.route(Wish(("mezo", "lozo"), ("all",), ("sst2",), settings=settings), load_plugins(only=""))
    assert (routed.estimators["mezo"]["eps"], routed.estimators["lozo"]["eps"]) == (0.25, 0.5)
