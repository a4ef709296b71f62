"""One cell in two processes, each with a part of every batch: the numbers of one process, by losses alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from unittest import mock

import psutil
import pytest
import torch
from kits.processes import heeds_signals
from kits.run_kit import QUICK, World, save_data, save_model

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import store
from zobench.run import group
from zobench.run.ranks import ROOM, ROW, Apart, Ranks
from zobench.tasks.spread import gathered, own_share

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
ESTIMATORS = {"squad": "mezo,fzoo", "copa": "forward_grad,pseuzo,grzo,mezo_svrg,zero_shot"}
ROWS = {"mezo": 1, "fzoo": 2, "forward_grad": 1, "pseuzo": 2, "mezo_svrg": None, "grzo": None, "zero_shot": 0}
"""Of losses that a step exchanges; None: it depends on the step."""
SIZES = {**QUICK, "batch_size": 5, "steps": 4, "eval_every": 2, "speed_steps": 0, "num_test": 7, "num_dev": 5}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return World(save_model(folder / "model"), save_data(folder / "data"))


class Fork:
    """A rank in a fork of this process, which has all imports behind it: what a run asks of a subprocess.Popen."""

    def __init__(self, rank, size, at, threads):
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                heeds_signals()
                torch.set_num_threads(threads)
                status = group.main([str(rank), str(size), at])
            finally:
                os._exit(status)

    def wait(self, seconds=60.0):
        until = time.monotonic() + seconds
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("rank", seconds)
            time.sleep(0.01)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


@pytest.fixture(params=[Fork, pytest.param(group._started, marks=pytest.mark.slow)], ids=["forks", "processes"])
def ranks_in(request, monkeypatch):
    """What the ranks run in; by default, and off Linux never, forks."""
    if request.param is Fork and sys.platform != "linux":
        pytest.skip("forks are of Linux")
    monkeypatch.setattr(group, "_started", request.param)


@pytest.fixture
def reached(monkeypatch):
    """The addresses that the first rank listens on while it runs cells."""
    begin, found = Ranks.begin, set()

    def noted(ranks, *args):
        at = psutil.Process()
        every = at.net_connections(kind="inet") if hasattr(at, "net_connections") else at.connections(kind="inet")
        found.update(one.laddr.ip for one in every if one.status == psutil.CONN_LISTEN)
        return begin(ranks, *args)

    monkeypatch.setattr(Ranks, "begin", noted)
    return found


def words(world, results, *more, estimators, tasks, lr="1e-3,1e-4", **settings):
    line = [
        "run",
        "--model",
        str(world.model),
        "--data-dir",
        str(world.data),
        "--offline",
        "-t",
        tasks,
        "-e",
        estimators,
    ]
    line += ["--results", str(results), "--device", "cpu", "--lr", lr, "-s", "layer:1", *more]
    return [*line, *(x for k, v in {**SIZES, **settings}.items() for x in ("--set", f"{k}={v}"))]


def read(results):
    records, problems = store.read(results)
    assert not problems
    return {r["id"]: r for r in records}


def agree(ours, theirs):
    """Two records of a cell: what was counted and scored is equal, losses but for rounding."""
    for key in ("status", "protocol", "cell", "scope", "selection", "forwards", "chosen", "data"):
        assert ours.get(key) == theirs.get(key), (ours["id"], key)
    for split, score in theirs["metrics"].items():
        mine = ours["metrics"][split]
        assert mine["items"] == score["items"] and mine.get("loss", 1.0) == pytest.approx(
            score.get("loss", 1.0), rel=1e-5
        )
    for a, b in zip(ours["trials"], theirs["trials"], strict=True):
        assert [step for step, _ in a["curve"]] == [step for step, _ in b["curve"]]
        assert [loss for _, loss in a["curve"]] == pytest.approx([loss for _, loss in b["curve"]], rel=1e-5)


@pytest.mark.parametrize("task", ESTIMATORS)
def test_two_ranks_give_the_numbers_of_one(world, tmp_path, ranks_in, reached, task):
    """A choice task, a generated answer; looks, exact slopes, outputs, each example alone, fresh batches."""
    assert_equal(world, tmp_path, task, ESTIMATORS[task], 2 if task == "squad" else 5)
    assert reached == {"127.0.0.1"}, "other machines cannot"


@pytest.mark.slow
def test_two_ranks_give_the_numbers_of_one_in_all_methods_of_both_tasks(world, tmp_path):
    assert_equal(world, tmp_path, "copa,squad", ",".join(ESTIMATORS.values()), 14)


def assert_equal(world, tmp_path, tasks, estimators, cells):
    told = {"tasks": tasks, "estimators": estimators, "lr": "1e-3"}
    assert main(words(world, tmp_path / "one", **told)) == 0
    assert main(words(world, tmp_path / "two", "--ranks", "2", **told)) == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one.keys() == two.keys() and len(one) == cells
    for cell, record in two.items():
        agree(record, one[cell])
        name, ranks = record["cell"]["estimator"], record["ranks"]
        assert ranks["size"] == 2 and "ranks" not in one[cell]
        if ROWS[name] is not None:
            assert ranks["bytes_a_step"] == ROW * 8 * ROWS[name], name
    assert not (tmp_path / "two" / "running").exists()


def test_a_rank_is_started_with_its_place_and_its_share_of_the_threads(monkeypatch):
    asked = []
    monkeypatch.setattr(subprocess, "Popen", lambda words, **more: asked.append((words, more)))
    group._started(1, 3, "folder", 4)
    ((words, more),) = asked
    assert words == [sys.executable, "-c", group.RANK, "1", "3", "folder"]
    assert more["env"]["OMP_NUM_THREADS"] == "4" and more["stdout"] == subprocess.DEVNULL
    compile(group.RANK, "RANK", "exec")


def test_a_cell_of_two_ranks_goes_on_where_it_was(world, tmp_path, monkeypatch, ranks_in):
    from zobench.run.diary import Diary

    told = {"estimators": "mezo", "tasks": "copa"}
    assert main(words(world, tmp_path / "one", **told)) == 0
    stepped, made = Diary.stepped, []

    def stopped(self, estimator, feed, run, budget, *, evaluated):
        stepped(self, estimator, feed, run, budget, evaluated=evaluated)
        made.append(run.steps)
        if len(made) == 7:  # the second rate, in mid-interval
            raise KeyboardInterrupt

    monkeypatch.setattr("zobench.run.journal.FLUSH_S", 0.0)
    monkeypatch.setattr(Diary, "stepped", stopped)
    assert main(words(world, tmp_path / "two", "--ranks", "2", **told)) == 130
    monkeypatch.setattr(Diary, "stepped", stepped)
    assert main(words(world, tmp_path / "two", "--ranks", "2", **told)) == 0
    (one,), (two,) = read(tmp_path / "one").values(), read(tmp_path / "two").values()
    agree(two, one)
    assert two["resumed"] == {"times": 1, "replayed": 7}, "both rates again without a forward"


@pytest.mark.parametrize(
    ("more", "settings", "says"),
    [
        ([], {"estimators": "adamw"}, "adamw looks at activations or gradients, and ranks exchange losses alone"),
        ([], {"estimators": "agzo"}, "agzo looks at activations or gradients"),
        ([], {"estimators": "mezo", "train_loss": "lm"}, "train_loss=lm of task copa is no mean over the examples"),
        (["--jobs", "2"], {"estimators": "mezo"}, "leave --jobs out"),
        (["--executor", "ray"], {"estimators": "mezo"}, "--ranks"),
    ],
)
def test_what_ranks_cannot_compute_is_refused_in_a_line(world, tmp_path, capsys, monkeypatch, more, settings, says):
    monkeypatch.setattr("zobench.run.group._started", lambda *a: None)
    monkeypatch.setattr("zobench.run.group._part", lambda others: None)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *a, **k: None)
    monkeypatch.setattr(Ranks, "stop", lambda self: None)
    assert main(words(world, tmp_path / "r", "--ranks", "2", *more, **{"tasks": "copa", **settings})) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "r" / "cells").exists()


class Wire(Ranks):
    """Ranks whose exchange is at hand: the rows of all."""

    def __init__(self, *others):
        super().__init__(0, 1 + len(others), 0)
        self.others = others

    def _all(self, act):
        act(self)

    def all_gather(self, found, mine):
        for row, other in zip(found, [mine, *self.others], strict=True):
            row[:] = other if other is not None else mine

    def all_gather_object(self, found, mine):
        found[:] = [mine, "batch 3"]


def row(mark, *values):
    import zlib

    out = torch.zeros(ROW, dtype=torch.float64)
    out[: 1 + len(values)] = torch.tensor([float(zlib.crc32(mark.encode())), *values], dtype=torch.float64)
    return out


def test_the_mean_is_by_weight_in_the_dtype_of_a_rank_that_has_a_part():
    ranks = Wire(row("x 0", 3.0, 2.0, 4.0, 8.0))
    losses = ranks.mean("x", 1.0, [torch.tensor(2.0), torch.tensor(4.0)])
    assert [x.item() for x in losses] == [3.5, 7.0] and losses[0].dtype == torch.float32
    (loss,) = Wire(row("x 0", 2.0, 0.0, 4.0)).mean("x", 0.0, [torch.tensor(float("nan"))])
    assert loss.item() == 4.0 and loss.dtype == torch.float16
    assert Wire(None).mean("x", 1.0, [torch.tensor(float(i)) for i in range(2 * ROOM + 1)])[-1].item() == 2 * ROOM


def test_ranks_that_do_other_things_stop():
    ranks = Wire(row("batch 3"))
    with pytest.raises(Apart, match="rank 0 was at batch 2, rank 1 was at batch 3"):
        ranks.agree("batch 2")
    assert issubclass(Apart, ZobenchError) and ranks.broken


def test_one_process_is_no_group_and_torchruns_number_is_the_one(monkeypatch):
    for size in (0, 1):
        with group.joined(size) as ranks:
            assert ranks is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with group.joined(1) as ranks:
        assert ranks is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    for size in (1, 3):
        with pytest.raises(ZobenchError, match=f"--ranks {size}: torchrun started 2 processes"), group.joined(size):
            pass


@pytest.mark.slow
def test_torchrun_starts_the_ranks(world, tmp_path):
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "zobench"]
    done = subprocess.run(
        [*line, *words(world, tmp_path / "two", estimators="mezo", tasks="copa")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main(words(world, tmp_path / "one", estimators="mezo", tasks="copa")) == 0
    (one,), (two,) = read(tmp_path / "one").values(), read(tmp_path / "two").values()
    agree(two, one)
    assert two["ranks"]["size"] == 2 and done.stdout.count("leaderboard") < 3


def test_forwards_of_a_score_are_those_of_all_ranks():
    def gather(of, mine):
        assert (of, mine) == ("answers", ({0: "a"}, 2))
        return [mine, ({1: "b"}, 3)]

    spread = SimpleNamespace(rank=0, size=2, gather=gather)
    assert gathered("answers", {0: "a"}, 2, spread) == ({0: "a", 1: "b"}, 5)
    assert [list(own_share(5, SimpleNamespace(rank=rank, size=2))) for rank in (0, 1)] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (None, 0, ""),
        (Apart("they are apart"), 1, ""),
        (ZobenchError("no room"), 2, "zobench: error: rank 1: no room\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_follower_ends_with_the_status_of_what_ended_it(monkeypatch, capsys, end, status, said):
    monkeypatch.setattr(group, "follow", mock.Mock(side_effect=end))
    assert group.led(SimpleNamespace(rank=1)) == status and capsys.readouterr().err == said
