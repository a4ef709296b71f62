"""What a cell took is counted: forwards by purpose, and the medians of its phases."""

from __future__ import annotations

from importlib import import_module

import pytest
from kits.run_kit import (
    LAYERS,
    carry_out,
    plan,
)

from zobench.run.train import Trained
from zobench.timers import StepTimes


@pytest.mark.parametrize(
    ("estimator", "selector", "settings", "want"),
    [
        ("mezo", "all", {}, {"train": 8}),
        ("mezo", "all", {"rows": "replicated"}, {"train": 8}),
        ("mezo", "all", {"scored_in": "rows"}, {"train": 8}),
        ("fzoo", "all", {"fzoo__n": 3}, {"train": 16}),
        ("adamw", "layer", {}, {"train": 4, "backward": 4}),
        ("lora_zo", "layer", {"speed_steps": 3, "speed_warmup": 4}, {"train": 8, "speed": (7 + 2) * 4}),
        ("mezo", "first_outlier", {"first_outlier__rule": "ratio", "first_outlier__ratio": "0.01",
                                   "first_outlier__batches": 3}, {"train": 8, "calibration": 3}),
        ("mezo", "exhaustive_sweep", {"exhaustive_sweep__steps": 2}, {"train": 8, "probe": LAYERS * (2 * 2 + 1)}),
        ("mezo", "exhaustive_sweep", {"exhaustive_sweep__steps": 2, "exhaustive_sweep__by": "dev_metric"},
         {"train": 8, "probe": LAYERS * (2 * 2 + 1 + 1)}),
        ("zero_shot", "all", {}, {}),
    ],
)  # fmt: skip
def test_forwards_by_purpose_are_those_that_were_made(
    world, tmp_path, estimator, selector, settings, want, monkeypatch
):
    index = {"layer__index": 1} if selector == "layer" else {}
    made, place = plan(world, tmp_path, [estimator], [selector], **index, **settings)
    calls: list[int] = []
    assert made.session.loaded.capabilities.packs  # measured now, by forwards that no cell counts
    made.session.loaded.model.model.register_forward_pre_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(
        "zobench.run.train.points_together", lambda *_: False
    )  # so that each look is a call of the model
    uncounted(monkeypatch, "zobench.run.prefix.cut_at", calls)  # a few tokens
    (record,) = carry_out(made, place)
    assert record["status"] == "ok"
    trained = estimator != "zero_shot"
    # 6 dev and 5 test items of two candidates each: all in a forward, 8 rows in one, or each in its own
    dev, test = (2, 2) if "scored_in" in settings else (2 * 6, 2 * 5) if "rows" in settings else (1, 1)
    evaluated = (2 + dev + test if trained else dev) + test  # dev losses, dev, test, the untouched model's test
    forwards = {k: v for k, v in record["forwards"].items() if v}
    assert forwards == {**want, "eval": evaluated}
    assert len(calls) == sum(n for purpose, n in forwards.items() if purpose != "backward")


def uncounted(monkeypatch, name, calls):
    """Let the function of this name make calls that leave no trace in `calls`."""
    module, _, function = name.rpartition(".")
    original = getattr(import_module(module), function)

    def trial(*args):
        before = len(calls)
        try:
            return original(*args)
        finally:
            del calls[before:]

    monkeypatch.setattr(name, trial)


def test_the_first_steps_are_left_out_of_the_medians():
    def took(*seconds):
        return [StepTimes(s, s, s, s) for s in seconds]

    slow = Trained(1e-3, segments=[took(100.0, 100.0, 100.0, 1.0, 2.0)])
    assert slow.medians()["step_s"] == 1.5
    assert Trained(1e-3, segments=[took(100.0)]).medians()["step_s"] == 100.0
    gone_on = Trained(1e-3, segments=[took(100.0, 100.0, 100.0, 1.0), took(90.0, 80.0, 70.0, 4.0)])
    assert gone_on.medians()["step_s"] == 2.5, "each process has first steps"
    assert Trained(1e-3).medians() is None
