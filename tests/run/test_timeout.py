"""A cell that takes too long ends as `timeout`, whatever it hangs in, and the others run."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from functools import cache

import pytest
from kits.records import record as made_record
from kits.run_kit import QUICK, carry_out, numbers, plan, plugin_file, run
from rich.console import Console

from zobench.cli import main
from zobench.plugins.registry import load_plugins
from zobench.report import processes, store, watchdog
from zobench.run import limit, selection, speed_stage
from zobench.run.cell_runner import Runner
from zobench.run.limit import AGAIN_S, within
from zobench.run.progress import Progress
from zobench.run.selection import RunSelectionContext
from zobench.run.unchanged import Guard
from zobench.tasks.prepared import PreparedTask

HANGS = """
    import collections, itertools, os, signal
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    def alarm():  # as when the time is over
        try:
            os.kill(os.getpid(), signal.SIGALRM)
        except BaseException:
            os.kill(os.getpid(), signal.SIGALRM)  # it rings again

    WAYS = {
        "python": alarm,
        "c": lambda: collections.deque(itertools.repeat(0), maxlen=0),  # holds the interpreter, and hears no signal
    }

    class Hangs(MeZO):
        def iterate(self, losses):
            if self.t == 3 and os.environ.get("HANG"):
                WAYS[os.environ["HANG"]]()
            return super().iterate(losses)

    @hookimpl
    def zobench_estimators():
        return {"hangs": Hangs}
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="an alarm of POSIX")
def test_what_hangs_ends_as_timeout_and_goes_on_when_asked_to(world, tmp_path, monkeypatch):
    plugins = load_plugins([plugin_file(tmp_path, HANGS)])
    (whole,) = run(world, tmp_path / "whole", ["hangs"], plugins=plugins, steps=6, eval_every=2)
    monkeypatch.setenv("HANG", "python")
    made, place = plan(world, tmp_path / "r", ["hangs"], plugins=plugins, steps=6, eval_every=2)
    record = Runner(made.session, place.results, quiet(made), timeout=600)(made.todo[0])
    assert record["status"] == "timeout" and "--rerun failed goes on" in record["error"]
    monkeypatch.delenv("HANG")
    made, place = plan(world, tmp_path / "r", ["hangs"], plugins=plugins, steps=6, eval_every=2)
    assert not made.todo, "it is not tried again by itself"
    made, place = plan(world, tmp_path / "r", ["hangs"], plugins=plugins, steps=6, eval_every=2, rerun="failed")
    (record,) = carry_out(made, place)
    assert numbers(record) == numbers(whole) and record["resumed"] == {"times": 1, "replayed": 2}
    assert not (tmp_path / "r" / "running").exists()


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """By selector the numbers of the cell that nothing ends."""

    @cache
    def of(selector, **settings):
        (record,) = run(world, tmp_path_factory.mktemp("whole"), ["mezo"], [selector], **settings)
        return numbers(record)

    return of


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="an alarm of POSIX")
@pytest.mark.parametrize(
    ("where", "name", "nth"),
    [
        (RunSelectionContext, "calibration", 1),
        (selection, "train", 1),  # a probe
        (PreparedTask, "dev_score", 1),
        (PreparedTask, "test_score", 1),
        (PreparedTask, "test_score", 2),  # of the untouched model
        (speed_stage, "of_cell", 1),
        (Guard, "put_back", 3),
    ],
)
def test_the_time_may_be_over_at_any_stage(world, tmp_path, monkeypatch, whole, where, name, nth):
    few = {"speed_steps": 1, "speed_warmup": 1}
    asked = (["mezo"], ["max_jump"])
    if name == "train":
        asked, few = (["mezo"], ["exhaustive_sweep"]), {**few, "exhaustive_sweep__steps": 2}
    want = whole(*asked[1], **few)
    plain, calls = getattr(where, name), []

    def late(*args, **options):
        calls.append(name)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGALRM)
        return plain(*args, **options)

    made, place = plan(world, tmp_path / "r", *asked, **few)
    with monkeypatch.context() as patch:
        patch.setattr(where, name, late)
        record = Runner(made.session, place.results, quiet(made), timeout=600)(made.todo[0])
    assert record["status"] == "timeout" and "--rerun failed goes on" in record["error"]
    assert not list((tmp_path / "r").rglob("*.claim-*"))
    (record,) = run(world, tmp_path / "r", *asked, rerun="failed", **few)
    assert numbers(record) == want and record["resumed"]["times"] == 1


def quiet(made):
    return Progress(made.plugins, 1, Console(file=io.StringIO()))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_watchdog_ends_a_process_that_hears_nothing_and_writes_its_record(tmp_path):
    hung = subprocess.Popen([sys.executable, "-c", "import collections as c, itertools as i; c.deque(i.repeat(0), 0)"])
    claim, late = tmp_path / "claim", {**made_record(), "status": "timeout", "error": "too long"}
    claim.touch()
    (tmp_path / "cells").mkdir()
    job = {"pid": hung.pid, "results": str(tmp_path), "record": late, "claim": str(claim)}
    watchdog.end({**job, "born": "1"})  # the number was another's
    assert hung.poll() is None and processes.alive(hung.pid) and claim.exists() and not store.read(tmp_path)[0]
    job["born"] = processes.born(hung.pid)
    watchdog.end(job)
    assert hung.wait(timeout=60) == -signal.SIGKILL and not claim.exists()
    (written,), _ = store.read(tmp_path)
    assert (written["status"], written["error"]) == ("timeout", "too long")
    claim.touch()
    watchdog.end(job)
    assert claim.exists(), "it is gone, and whatever lies there is not its own"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_step_that_hangs_in_c_is_ended_by_the_watchdog(world, tmp_path, monkeypatch, capfd):
    """In a process of its own, whose end the run survives: the cell that hangs is the first of two."""
    monkeypatch.setenv("HANG", "c")
    words = ["run", "-e", "hangs,mezo", "-t", "sst2", "--model", str(world.model), "--data-dir", str(world.data)]
    words += ["--offline", "--results", str(tmp_path / "r"), "--device", "cpu", "--lr", "1e-3", "--timeout", "40s"]
    words += ["--plugin", str(plugin_file(tmp_path, HANGS + GRACE))]
    assert main([*words, *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}"))]) == 1
    records, problems = store.read(tmp_path / "r")
    assert not problems
    assert {r["cell"]["estimator"]: r["status"] for r in records} == {"hangs": "timeout", "mezo": "ok"}
    assert not list((tmp_path / "r" / "running").glob("*.claim-*"))


GRACE = """
    import zobench.run.limit
    zobench.run.limit.GRACE_S = 1.0
"""


@pytest.mark.parametrize(("said", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_times_are_read(said, seconds):
    from zobench.cli.run_options import duration_of

    assert duration_of(said) == seconds


@pytest.mark.parametrize("said", ["", "0", "-1s", "soon", "nanh", "infs", "1d"])
def test_what_is_no_time_is_refused(said, capsys):
    assert main(["run", "-e", "mezo", "--timeout", said]) == 2
    assert "write a time above 0" in capsys.readouterr().err


def test_the_time_is_looked_at_between_steps_where_there_is_no_alarm():
    import threading

    seen = []

    def elsewhere():
        with limit.within(1e-9) as check:
            try:
                check()
            except limit.TimedOut:
                seen.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [True] and os.getpid()


def test_an_alarm_that_a_plugin_caught_rings_again():
    with within(1000.0):
        left, again = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left <= 1000 and again == AGAIN_S
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.fixture
def told_of(monkeypatch):
    """The watchdog's input, to write to; what it ended, and that it was over."""
    reading, writing = os.pipe()
    ended = []
    monkeypatch.setattr(sys, "stdin", os.fdopen(reading))
    monkeypatch.setattr(watchdog, "end", ended.append)
    with os.fdopen(writing, "w", buffering=1) as lines:
        yield lines, ended


def test_the_watchdog_ends_what_is_not_over_in_its_time(told_of):
    lines, ended = told_of
    for line in ('{"seconds": 3600, "pid": 1}', "{}", '{"seconds": 0, "pid": 2}'):
        print(line, file=lines)
    watchdog.main()
    assert ended == [{"seconds": 0, "pid": 2}], "the first was over before"


def test_the_watchdog_goes_with_what_it_watches(told_of):
    lines, ended = told_of
    print('{"seconds": 3600, "pid": 1}', file=lines)
    lines.close()
    watchdog.main()
    assert ended == []


def test_between_cells_the_watchdog_waits(told_of):
    lines, ended = told_of
    print('{"seconds": 3600, "pid": 1}\n{}', file=lines)
    threading.Timer(0.1, lines.close).start()
    watchdog.main()
    assert ended == []
