"""The speed-up of a cell: what is measured, on what, and that nothing stays behind."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

import pytest
import scipy.stats
import torch
from kits.matrix import named
from kits.run_kit import assert_untouched, carry_out, plan

from zobench import Diverged, Estimator
from zobench.run import speed
from zobench.run.memory import PeakMemory
from zobench.run.memory_account import planned
from zobench.run.method import Method, keeper
from zobench.run.selection import everything
from zobench.run.speed import _Taken

STEPS, WARMUP = 4, 3


@pytest.fixture
def timed(monkeypatch):
    """Every timed step as (estimator, engine, tensors in scope, batch), and the phases that were measured of it."""
    seen = []
    original = speed.timed_step

    def spied(estimator, objective):
        times = original(estimator, objective)
        ids = objective.batch.input_ids.tolist()
        seen.append(((type(estimator).__name__, type(estimator.engine).__name__, len(estimator.handles)), ids, times))
        return times

    monkeypatch.setattr(speed, "timed_step", spied)
    return seen


@pytest.mark.parametrize("method", named(["mezo", "lora_zo", "hizoo", "adamw"], ["lora_zo", "adamw"]))
def test_both_sides_are_measured_on_the_same_batches(world, tmp_path, timed, method, monkeypatch):
    monkeypatch.setattr(
        "zobench.run.train.points_together", lambda *_: False
    )  # so that each look is a call of the model
    made, _ = plan(world, tmp_path, [method], speed_steps=STEPS, speed_warmup=WARMUP)
    cell, session = made.todo[0], made.session
    prepared, _ = session.prepared(cell.task, cell.protocol)
    own = Method(session.plugins.estimator(method), cell.estimator_settings, cell.computation)
    baseline = Method.official(session.plugins.estimator("mezo"), cell.computation)
    scope, block = everything(session.loaded), everything(session.loaded)
    block.named = [(n, p) for n, p in block.named if ".layers.1." in n]
    calls: list[int] = []
    session.loaded.model.register_forward_pre_hook(lambda *_: calls.append(1))
    sides = speed.Sides(baseline, scope, own, block)
    keep = keeper(session.loaded, 1)
    made = speed.measure(sides, session.loaded, prepared, cell.protocol, seed=0, keep=keep)
    info, forwards = made.info, made.forwards
    assert_untouched(session.loaded, world)
    # blocks of 5 and 2 counted steps a side in turn, and an uncounted one before each
    names = [key for key, _, _ in timed]
    ours, theirs = ("MeZO", "Official", len(scope.named)), names[6]
    assert names == [ours] * 6 + [theirs] * 6 + [ours] * 3 + [theirs] * 3
    assert theirs != ours and theirs[2] < ours[2]
    batches = [[ids for key, ids, _ in timed if key == side] for side in (ours, theirs)]
    assert batches[0] == batches[1]
    assert len({str(ids) for ids in batches[0][:4]}) == 4  # of 12 items, 3 at a time
    each = {"mezo": 2, "lora_zo": 2, "hizoo": 3, "adamw": 1}[method]
    backward = 9 if method == "adamw" else 0
    assert forwards == 9 * (2 + each) + backward and len(calls) == 9 * (2 + each)
    for key, side in ((ours, info["baseline"]), (theirs, info["own"])):
        counted = [t for k, _, t in timed if k == key]
        counted = (counted[1:6] + counted[7:])[WARMUP:]
        assert len(counted) == STEPS == info["steps"]
        for phase, value in side.items():
            assert value == statistics.median(t[phase] for t in counted)
    assert info["ratio"] == info["baseline"]["step_s"] / info["own"]["step_s"] > 0
    assert info["warmup"] == WARMUP


def test_a_cell_has_its_speed_unless_it_is_left_out(world, tmp_path):
    made, place = plan(world, tmp_path, ["mezo"], ["layer"], layer__index=1, speed_steps=2, speed_warmup=1)
    (record,) = carry_out(made, place)
    assert record["speed"]["clock"] == "process"
    assert record["speed"]["steps"] == 2 and record["forwards"]["speed"] == (3 + 1) * 4
    made, place = plan(world, tmp_path, ["mezo"], ["layer"], layer__index=1, speed_steps=0)
    (record,) = carry_out(made, place)
    assert "speed" not in record and "speed" not in record["forwards"]


@pytest.mark.parametrize(("later", "shared"), [(1.0, True), (1.5, False)])
def test_cells_of_a_task_share_the_baseline_as_long_as_it_is_as_fast(
    world, tmp_path, timed, monkeypatch, later, shared
):
    spied = speed.timed_step

    def steady(estimator, objective):
        """Baseline steps of a second, in the second cell of `later` seconds."""
        times = spied(estimator, objective)
        own = len(estimator.handles) < 5 or type(estimator.engine).__name__ != "Official"
        times["step_s"] = 0.25 if own else (1.0 if len(cells) < 2 else later)
        return times

    monkeypatch.setattr(speed, "timed_step", steady)
    cells = []
    original = speed.of_cell
    monkeypatch.setattr("zobench.run.speed_stage.of_cell", lambda *args: cells.append(1) or original(*args))
    told = {"layer__index": 1, "speed_steps": 9, "speed_warmup": 3}
    made, place = plan(world, tmp_path, ["mezo"], ["layer"], seeds=(0, 1), **told)
    first, second = carry_out(made, place)
    baseline = [(ids, i) for i, ((_, engine, _), ids, _) in enumerate(timed) if engine == "Official"]
    assert first["speed"]["ratio"] == 4.0 and "baseline_of" not in first["speed"]
    assert first["speed"]["steps"] == second["speed"]["steps"] == 5  # of 9: all ratios are the same
    made_again = (8 + 2) * 2 + (3 + 1) * 2  # the own side, and the second turn of the baseline
    assert first["forwards"]["speed"] == (8 + 2) * 4
    assert second["forwards"]["speed"] == made_again + (0 if shared else (8 + 2) * 4)
    assert second["speed"]["ratio"] == 4.0 * (1.0 if shared else 1.5)
    assert second["speed"].get("baseline_of") == (first["id"] if shared else None)
    again = [ids for ids, _ in baseline[10:]]
    assert len(again) == 4 + (0 if shared else 10)
    assert again[:4] == [ids for ids, _ in baseline[6:10]], "the same steps as then"


@pytest.mark.parametrize(
    ("paces", "counted"),
    [
        ([1.0], 5),  # as soon as there are two turns of each
        ([1.0, 1.3], 15),  # 5: 25 %, 10: 11 %, 15: 8 % around it
        ([1.0, 2.0], 17),  # never known so well: all that are asked for
    ],
)
def test_the_measurement_ends_when_the_ratio_is_known(world, tmp_path, timed, monkeypatch, paces, counted):
    spied, own = speed.timed_step, itertools.cycle(paces)

    def as_told(estimator, objective):
        times = spied(estimator, objective)
        times["step_s"] = 2.0 if type(estimator.engine).__name__ == "Official" else next(own)
        return times

    monkeypatch.setattr(speed, "timed_step", as_told)
    made, place = plan(world, tmp_path, ["mezo"], ["layer"], layer__index=1, speed_steps=17, speed_warmup=3)
    (record,) = carry_out(made, place)
    measured = record["speed"]
    assert measured["steps"] == counted
    low, high = measured["interval"]
    assert low <= measured["ratio"] <= high and (high / measured["ratio"] <= 1.1) == (counted < 17)


def test_the_interval_of_a_ratio_is_that_of_students_t():
    """Against scipy: ratios of 2, 4 and 8, whose logarithms are log 4 on average, with a deviation of log 2."""
    high = scipy.stats.t.interval(0.95, 2, loc=math.log(4), scale=math.log(2) / 3**0.5)[1]
    assert speed.share_of_ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0]) * 4 + 4 == pytest.approx(math.exp(high))
    assert speed.share_of_ratio([2.0], [1.0]) == math.inf
    assert speed.share_of_ratio([2.0, 2.0], [1.0, 0.0]) == math.inf, "of a clock that is too coarse"


def test_the_baseline_passes_over_rows_as_mezo_has_them(world, tmp_path, monkeypatch):
    seen, original = [], speed.Feed
    monkeypatch.setattr(
        speed, "Feed", lambda loaded, task, *rest: seen.append(task.rows) or original(loaded, task, *rest)
    )
    made, place = plan(world, tmp_path, ["mezo"], speed_steps=1, speed_warmup=1)
    carry_out(made, place)
    assert seen == ["replicated", "packed"]


def test_the_peak_of_a_cell_is_without_the_baseline_of_its_speed(world, tmp_path, monkeypatch):
    began: list[int] = []
    monkeypatch.setattr(PeakMemory, "again", lambda self: began.append(1))
    monkeypatch.setattr(PeakMemory, "peak", lambda self: len(began))
    peaks = []
    for steps in (0, 2):
        began.clear()
        made, place = plan(world, tmp_path / str(steps), ["mezo"], speed_steps=steps, speed_warmup=1)
        (record,) = carry_out(made, place)
        peaks.append(record["memory"]["peak_bytes"])
    assert peaks[0] == peaks[1] < len(began)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (Diverged(3, float("nan")), "the loss of step 3 is nan"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory ran out"),
    ],
)
def test_scores_stand_where_only_the_speed_could_not_be_measured(world, tmp_path, monkeypatch, error, why):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr("zobench.run.speed.measure", fails)
    made, place = plan(world, tmp_path, ["mezo"], speed_steps=STEPS, speed_warmup=WARMUP)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok" and "speed" not in record and "test" in record["metrics"]
    assert record["data"]["notes"]["speed"] == f"not measured: {why}"


def test_the_speed_is_left_out_where_the_baseline_takes_more_than_there_is(world, tmp_path, monkeypatch):
    """As of Qwen3-8B on a card of 24 GB, on which it trains: nothing is begun that must fail."""
    monkeypatch.setattr("zobench.run.stages.planned", lambda *a: replace(planned(*a), speed=2**50))
    monkeypatch.setattr("zobench.run.speed.measure", lambda *a, **k: pytest.fail("it was begun"))
    made, place = plan(world, tmp_path, ["mezo"], ["layer"], layer__index=1, speed_steps=STEPS)
    (record,) = carry_out(made, place)
    assert record["status"] == "ok" and "speed" not in record and "test" in record["metrics"]
    said = "not measured: the baseline, which moves all weights, would hold 1048576.0 GiB of "
    assert record["data"]["notes"]["speed"].startswith(said)


def test_the_baseline_is_mezos_own_computation_whatever_the_cells_is(world, tmp_path):
    (cell,) = plan(world, tmp_path, ["mezo"], parameterisation="lora", dtype="bfloat16", precision="float32")[0].todo
    made = Method.official(object, cell.computation).computation
    assert (made.engine, made.noise, made.restore, made.precision) == ("official", "official", "arithmetic", "native")
    assert (made.parameterisation, made.compile, made.rows, made.dtype) == ("full", "off", "replicated", "bfloat16")


def test_the_move_is_made_though_nothing_is_learnt(world, tmp_path):
    """At a rate of 0 what a method makes of its directions would not be computed, and it would look too fast."""
    made, _ = plan(world, tmp_path, ["mezo"], speed_steps=STEPS, speed_warmup=0)
    cell, session, moved = made.todo[0], made.session, []

    class Signs(Estimator):
        def iterate(self, losses):
            z = self.noise()
            (loss,) = losses(1e-3 * z)
            self.descend(z.map(lambda x: (moved.append(1), x.sign())[1]))
            return loss

    prepared, _ = session.prepared(cell.task, cell.protocol)
    scope, before = everything(session.loaded), {n: p.clone() for n, p in session.loaded.model.named_parameters()}
    seen, step = [], speed.timed_step

    def spied(estimator, objective):
        times = step(estimator, objective)
        estimator.settle()
        seen.append(max(float((p - before[n]).abs().max()) for n, p in session.loaded.model.named_parameters()))
        return times

    sides = speed.Sides(Method(Signs, {}, cell.computation), scope, Method(Signs, {}, cell.computation), scope)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(speed, "timed_step", spied)
        speed.measure(sides, session.loaded, prepared, cell.protocol, seed=0, keep=keeper(session.loaded, 1))
    assert len(moved) == len(seen) * len(scope.named) and max(seen) < 1e-15


@pytest.mark.parametrize(("warmup", "least"), [(0, 6), (1, 5), (3, 5), (4, 5), (5, 6), (10, 6)])
def test_a_block_of_steps_is_enough_where_it_is_of_two_turns(warmup, least):
    """Turns end at every fifth step, the first ones not counted."""
    enough = [_Taken(None, 100, warmup, steps=[{}] * (warmup + counted)).enough for counted in range(9)]
    assert enough == [counted >= least for counted in range(9)]
