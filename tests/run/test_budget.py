"""Runs at equal forwards or equal seconds instead of equal steps."""

from collections import Counter

import pytest
import torch
from kits.run_kit import run

from zobench.errors import ZobenchError
from zobench.protocol.protocol import protocol_from
from zobench.run import budget as module
from zobench.run.budget import Budget, forwards_spent


def followed(budget, costs):
    """(steps made, the steps after which dev was looked at) where steps cost these forwards, one after the other."""
    looked, step, used = [], 0, 0
    while not budget.over:
        used += costs[step]
        step += 1
        budget.spend(forwards=used, seconds=float(costs[step - 1]))
        assert budget.expected_steps(step) >= step
        if budget.due(step):
            looked.append(step)
    return step, looked


def of(**given):
    return Budget.given(protocol_from({"steps": 200, "eval_every": 50, **given}))


def test_steps_are_the_protocols():
    assert followed(of(), [3] * 200) == (200, [50, 100, 150, 200])
    assert followed(of(steps=10, eval_every=4), [1] * 10) == (10, [4, 8])


def test_forwards_are_never_exceeded_and_dev_is_looked_at_at_equal_parts():
    assert followed(of(train_forwards=400), [2] * 300) == (200, [50, 100, 150, 200])
    assert followed(of(train_forwards=400), [9] * 300) == (44, [12, 23, 34, 44])  # 45 would be 405
    assert followed(of(train_forwards=400), [31] * 300) == (12, [4, 7, 10, 12])
    assert followed(of(train_forwards=400), [150] * 300) == (2, [1, 2])  # two parts are reached at once
    assert followed(of(train_forwards=5), [9] * 3) == (1, [1]), "the first step is always made"


def test_seconds_are_exceeded_by_a_step_at_most():
    assert followed(of(train_seconds=10.0), [3] * 9) == (4, [1, 2, 3, 4])


def test_a_backward_is_two_forwards():
    assert forwards_spent(Counter(train=5, backward=5, extra=1, probe=9)) == 16


def test_only_one_budget():
    with pytest.raises(ZobenchError, match="train_forwards and train_seconds are both set"):
        protocol_from({"train_forwards": 10, "train_seconds": 1.0})


def test_they_are_part_of_the_protocol_where_they_are_set():
    assert not {"train_forwards", "train_seconds"} & set(protocol_from({}).record())
    assert protocol_from({"train_forwards": 400}).record()["train_forwards"] == 400


@pytest.mark.parametrize(
    ("estimator", "settings", "looked"),
    [("mezo", {}, [6, 12]), ("fzoo", {"fzoo__n": 3}, [3, 6]), ("adamw", {}, [4, 8]), ("es", {"es__n": 10}, [2])],
)
def test_every_method_gets_the_same_forwards(world, tmp_path, estimator, settings, looked):
    (record,) = run(world, tmp_path, [estimator], train_forwards=24, lrs=(1e-3, 1e-4), **settings)
    assert record["status"] == "ok"
    assert [trial["steps"] for trial in record["trials"]] == [looked[-1]] * 2
    spent = forwards_spent(Counter(record["forwards"]))
    assert spent <= 2 * 24 and record["protocol"]["train_forwards"] == 24
    assert [step for step, _ in record["trials"][0]["curve"]] == looked


def test_a_run_of_seconds_makes_steps_until_they_are_over(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], train_seconds=0.2)
    (trial,) = record["trials"]
    assert record["status"] == "ok" and trial["steps"] > 1
    assert trial["curve"][-1][0] == trial["steps"], "the last checkpoint is the end"


def test_a_probe_trains_at_the_rate_that_it_is_told(world, tmp_path):
    """And where it is told none, at the first of the cell."""
    told = {"exhaustive_sweep__steps": 2, "exhaustive_sweep__blocks": 1}
    plain, same, other = (
        run(world, tmp_path / str(lr), ["mezo"], ["exhaustive_sweep"], steps=2, **told, **own)[0]
        for lr, own in ((0, {}), (1, {"exhaustive_sweep__lr": 1e-3}), (2, {"exhaustive_sweep__lr": 1e-1}))
    )
    (as_cell,), (as_told,), (elsewhere,) = (record["selection"]["probes"] for record in (plain, same, other))
    assert as_cell == as_told and as_cell["dev_loss"] != elsewhere["dev_loss"]


def test_probes_of_a_selector_keep_their_steps(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], ["exhaustive_sweep"], exhaustive_sweep__steps=2, train_forwards=16)
    assert record["status"] == "ok" and record["forwards"]["probe"] == 3 * (2 * 2 + 1)


def test_a_gpu_is_waited_for_where_the_time_must_be_exact(monkeypatch):
    waited = []
    monkeypatch.setattr(module, "synchronize", waited.append)
    gpu = torch.device("cuda")
    for device, exact in ((gpu, False), (torch.device("cpu"), True), (torch.device("cpu"), False)):
        module.clock(device, exact=exact)
    assert waited == []
    module.clock(gpu, exact=True)
    assert waited == [[gpu]]
