"""What a training says of itself, goes on from and computes in."""

import io
import itertools

import pytest
import torch
from kits.pretrain_kit import document, tiny
from rich.console import Console
from zobench_world.pretrain import checkpoint, job, progress


def test_tokens_a_second_are_those_of_this_sitting(monkeypatch):
    clock = itertools.count(step=2.0)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    shown = progress.TrainingProgress(tiny(), Console(file=io.StringIO()))
    for step, tokens in ((4, 1000), (5, 1300), (6, 1400)):  # the sitting began after others
        shown.step(checkpoint.TrainingCounts(step=step, tokens=tokens), 2.0)
    (task,) = shown.bars.tasks
    assert task.completed == 6 and task.fields["note"] == "loss 2.000, 100 tokens/s"


def test_the_newest_checkpoint_is_that_of_the_latest_step(tmp_path):
    assert checkpoint.newest(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", ".checkpoint-11.part"):
        (tmp_path / name).mkdir()
    assert checkpoint.newest(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize(
    ("device", "asked", "dtype"),
    [("cuda", "auto", "bfloat16"), ("cpu", "auto", "float32"), ("cuda", "float32", "float32")],
)
def test_products_are_in_half_precision_on_a_gpu(monkeypatch, tmp_path, device, asked, dtype):
    told = []
    monkeypatch.setattr(job, "_device", lambda name: torch.device(device))
    monkeypatch.setattr(job, "_claim", lambda _, settings: told.append(settings))
    (tmp_path / job.FACTS).touch()  # finished: nothing is computed
    job.pretrain(job.Job(out=tmp_path, recipe=tiny(dtype=asked), text=document), None, str)
    assert (told[0]["dtype"], told[0]["device"]) == (dtype, device)
