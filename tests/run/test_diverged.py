"""Losses, scores and learning rates that are no numbers end as `diverged`, and choose nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from kits.matrix import covering
from kits.run_kit import (
    assert_untouched,
    carry_out,
    on_disk,
    plan,
    plugin_file,
    run,
)

from zobench.plugins.registry import load_plugins
from zobench.run import stages as runner_module
from zobench.run.artefacts import Artefacts
from zobench.run.train import Trained
from zobench.tasks.prepared import PreparedTask


@pytest.mark.parametrize("lrs", [(1e60,), (1e-3, 1e60), (1e60, 1e-3)])
def test_an_absurd_learning_rate_is_diverged_and_stays_in_the_record(world, tmp_path, events, lrs):
    made, place = plan(world, tmp_path, ["mezo"], lrs=lrs)
    (record,) = carry_out(made, place)
    assert [t["status"] for t in record["trials"]] == ["diverged" if lr == 1e60 else "ok" for lr in lrs]
    wild = next(t for t in record["trials"] if t["lr"] == 1e60)
    assert wild["message"].startswith("at step ") and wild["dev_loss"] is None
    assert_untouched(made.session.loaded, world)
    if lrs == (1e60,):
        assert record["status"] == "diverged" and record["error"].startswith("lr 1e+60: at step ")
        assert "test" not in record["metrics"] and "test" not in events
    else:
        assert record["status"] == "ok" and record["chosen"]["lr"] == 1e-3


@pytest.mark.parametrize(("what", "method"), covering(["test", "dev", "zero_shot"], ["mezo", "zero_shot"]))
def test_scores_that_are_no_numbers_are_diverged(world, tmp_path, monkeypatch, what, method):
    name = "dev_score" if what == "dev" else "test_score"
    original, calls = getattr(PreparedTask, name), []

    def nan(self, model, progress=None):
        calls.append(1)
        score = original(self, model, progress)
        hit = what == "dev" or len(calls) == (2 if what == "zero_shot" and method == "mezo" else 1)
        return replace(score, value=math.nan, stderr=math.nan, items=[math.nan] * score.n) if hit else score

    monkeypatch.setattr(PreparedTask, name, nan)
    first, second = run(world, tmp_path, [method, "sparse_mezo"])
    assert first["status"] == "diverged" and "no numbers" in first["error"]
    assert on_disk(tmp_path, first)["status"] == "diverged"
    assert second["status"] in ("ok", "diverged")  # it ran


@pytest.mark.parametrize("seen", ["looked", "returned"])
def test_a_loss_that_is_no_number_is_diverged_also_where_it_is_only_returned(world, tmp_path, seen):
    source = f"""
        import torch
        from zobench import hookimpl
        from zobench_plugins.estimators.mezo import MeZO

        class Lost(MeZO):
            def iterate(self, losses):
                shown = super().iterate(losses)
                if self.t == 0 and {seen == "returned"}:
                    return shown * float("nan")
                if self.t == 0:
                    losses(float("inf") * self.noise())
                return shown

        @hookimpl
        def zobench_estimators():
            return {{"lost": Lost}}
    """
    plugins = load_plugins([plugin_file(tmp_path, source)])
    (record,) = run(world, tmp_path, ["lost"], plugins=plugins)
    assert record["status"] == "diverged" and record["error"].startswith("lr 0.001: at step 1: ")


def test_the_curve_is_json_whatever_the_numbers(tmp_path):
    artefacts = Artefacts(tmp_path, "a-cell")
    for value in (1.5, math.nan, math.inf, -math.inf):
        artefacts.log(lr=1e-3, step=1, loss=value)
    artefacts._steps.close()

    def strict(constant):
        raise AssertionError(f"{constant} is no JSON")

    lines = artefacts.files.steps.read_text().splitlines()
    assert [json.loads(line, parse_constant=strict)["loss"] for line in lines] == [1.5, None, None, None]


def ended(lr, loss, status="ok"):
    return Trained(lr, status=status, best_loss=loss, best_step=2)


def test_a_run_that_diverged_after_a_checkpoint_is_never_chosen_and_of_equals_the_first_is():
    better = runner_module._better
    assert not better(ended(1e-3, 0.1, "diverged"), None)
    assert not better(ended(1e-3, 0.1, "diverged"), ended(1e-4, 0.9))
    assert not better(ended(1e-3, None), None)
    assert better(ended(1e-3, 0.5), None) and better(ended(1e-3, 0.4), ended(1e-4, 0.5))
    assert not better(ended(1e-3, 0.5), ended(1e-4, 0.5))


def test_a_diverged_rate_with_the_lowest_loss_is_not_read(world, tmp_path, monkeypatch):
    original = runner_module.train

    def spoilt(*args, lr, **options):
        out = original(*args, lr=lr, **options)
        if lr == 1e-2:
            out.status, out.message, out.best_loss = "diverged", "at step 4: the loss is nan", 1e-9
        else:
            out.best_loss = 0.5
        return out

    monkeypatch.setattr(runner_module, "train", spoilt)
    (record,) = run(world, tmp_path, ["mezo"], lrs=(1e-2, 1e-3, 1e-4), further_lrs=1)
    assert record["status"] == "ok" and record["chosen"]["lr"] == 1e-3
    assert [t["lr"] for t in record["trials"]] == [1e-2, 1e-3, 1e-4, 1e-5], "nothing is tried beyond what diverged"
