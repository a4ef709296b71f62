"""Cells in several processes: the records of one, whatever one of them does or is done to it."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from types import SimpleNamespace

import psutil
import pytest
from kits import run_kit
from kits.matrix import named
from kits.processes import ended, started
from kits.run_kit import QUICK, World, numbers, plugin_file, save_data, save_model
from rich.console import Console
from zobench_plugins.executors import processes
from zobench_plugins.executors.processes import Processes

from zobench.cli import main
from zobench.report import store
from zobench.run import weight
from zobench.run.events import Listener, Teller
from zobench.run.progress import Progress


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return World(save_model(folder / "model"), save_data(folder / "data"))


ODD = """
    import os, signal, time
    from pathlib import Path
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Odd(MeZO):
        def iterate(self, losses):
            here = Path({folder!r})
            if not (here / "once").exists():
                (here / "once").touch()
                {does}
            return super().iterate(losses)

    @hookimpl
    def zobench_estimators():
        return {{"odd": Odd}}

    @hookimpl
    def zobench_step(cell, step, loss):
        with open(Path({folder!r}) / f"steps-{{os.getpid()}}", "a") as file:
            file.write(f"{{cell['seed']}} {{step}}\\n")
"""


def words(world, results, *more, tasks="sst2,copa", **settings):
    line = ["run", "--model", str(world.model), "--data-dir", str(world.data), "--offline", "--tasks", tasks]
    line += ["--results", str(results), "--device", "cpu", "--lr", "1e-3,1e-4"]
    return [*line, *(x for k, v in {**QUICK, **settings}.items() for x in ("--set", f"{k}={v}")), *more]


def odd(tmp_path, does):
    return ["--plugin", str(plugin_file(tmp_path, ODD.format(folder=str(tmp_path), does=does))), "-e", "odd"]


def read(results):
    records, problems = store.read(results)
    assert not problems
    return {r["id"]: r for r in records}


def test_several_processes_leave_the_records_of_one(world, tmp_path, capsys):
    plugin = odd(tmp_path, "pass")
    many = words(world, tmp_path / "many", *plugin, "--seeds", "0,1", "--jobs", "2")
    assert main(many) == 0
    err = capsys.readouterr().err
    assert [f"[{i}/4]" for i in range(1, 5)] == [line.split()[0] for line in err.splitlines() if line.startswith("[")]
    observed = list(tmp_path.glob("steps-*"))
    assert [p.name for p in observed] == [f"steps-{os.getpid()}"], "observers are called where the run was started"
    assert len(observed[0].read_text().splitlines()) == 8, "the first step of each of 2 rates of 4 cells"
    assert main(words(world, tmp_path / "one", *plugin, "--seeds", "0,1")) == 0
    there, here = read(tmp_path / "many"), read(tmp_path / "one")
    assert {i: numbers(r) for i, r in there.items()} == {i: numbers(r) for i, r in here.items()} and len(there) == 4
    assert len({r["environment"]["run"] for r in there.values()}) == 1
    assert not (tmp_path / "many" / ".live").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "many" / "cells").iterdir()}
    assert main(many) == 0
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "many" / "cells").iterdir()}


WAYS_OUT = [("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"), ("os._exit(3)", "3")]


@pytest.mark.parametrize(("does", "says"), WAYS_OUT)
def test_a_process_that_dies_takes_its_cell_alone_and_the_same_command_runs_that_again(
    world, tmp_path, capsys, does, says
):
    line = words(world, tmp_path / "r", *odd(tmp_path, does), "--seeds", "0,1", "--jobs", "2", tasks="sst2")
    assert main(line) == 1
    records = read(tmp_path / "r").values()
    lost = [r for r in records if r["status"] == "error"]
    assert len(records) == 2 and len(lost) == 1 and says in lost[0]["error"] and says in lost[0]["retry"]
    assert main(line) == 0
    assert {r["status"] for r in read(tmp_path / "r").values()} == {"ok"}


class Given:
    """Stands for a process that is given cells."""

    def __init__(self, name):
        self.pipe, self.task, self.cell = name, "", None

    def begin(self, cell):
        self.cell, self.task = cell, cell.task


def test_the_longest_task_is_begun_first_and_a_process_keeps_its_task(monkeypatch):
    sizes = {"a": [1, 1], "b": [5, 2, 2], "c": [4]}
    cells = [SimpleNamespace(id=f"{task}{i}", task=task) for task, of in sizes.items() for i in range(len(of))]
    spread = Processes(SimpleNamespace(), [], 1)
    spread.work = {f"{task}{i}": float(size) for task, of in sizes.items() for i, size in enumerate(of)}
    todo, one, two, order = list(cells), Given("one"), Given("two"), []
    for process in (one, two, two, one, one, two):
        spread.at_work.pop(process.pipe, None)
        process.cell = None
        spread._give(process, todo)
        order.append(process.cell.id)
    assert order == ["b0", "c0", "a0", "b1", "b2", "a1"] and not todo


def test_cells_weigh_what_they_read(world, tmp_path):
    told = {"lrs": (1e-3,), "speed_steps": 0, "num_test": 4}
    made = run_kit.plan(world, tmp_path, ["mezo", "hizoo", "zero_shot"], tasks=("sst2", "squad"), **told)[0]
    work = {(c.estimator, c.task): made.run_cell.work(c) for c in made.todo}
    assert all(work[name, "squad"] > work[name, "sst2"] for name in ("mezo", "hizoo", "zero_shot"))
    assert work["hizoo", "sst2"] > work["mezo", "sst2"] > work["zero_shot", "sst2"] > 0
    whole = run_kit.plan(world, tmp_path, ["mezo"], tasks=("sst2", "squad"), rows="replicated", **told)[0]
    again = {c.task: whole.run_cell.work(c) for c in whole.todo}
    assert again["sst2"] > 1.2 * work["mezo", "sst2"], "each of two answers with the prompt"
    assert again["squad"] == work["mezo", "squad"]
    pools = SimpleNamespace(train=[{"sentence": "no label"}])
    assert weight.characters(made.todo[0], made.run_cell.plugins, pools) > 0, "what is wrong is for the cell to say"
    more = run_kit.plan(world, tmp_path, ["mezo"], **{**told, "lrs": (1e-3, 1e-4)})[0]
    assert more.run_cell.work(more.todo[0]) > 1.5 * work["mezo", "sst2"]


def test_processes_are_prepared_before_cells_are_planned(world, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr("zobench_plugins.executors.processes.start_early", lambda: begun.append("early"))
    monkeypatch.setattr("zobench.run.plan.make_plan", lambda *a: begun.append("planned") or 1 / 0)
    for more in (["--jobs", "2"], ["--jobs", "auto"], [], ["--jobs", "2", "--dry-run"]):
        main(words(world, tmp_path / "r", "-e", "mezo", *more))
    assert begun == ["early", "planned"] * 2 + ["planned"] * 2


def test_what_no_cell_can_run_for_is_one_line(world, tmp_path, capsys):
    broken = tmp_path / "model"
    save_model(broken)
    weights = broken / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4:] = b"\xff\xff\xff\x7f"
    weights.write_bytes(data)
    line = words(world, tmp_path / "r", "-e", "mezo", "--seeds", "0,1", "--jobs", "2", tasks="sst2")
    line[line.index("--model") + 1] = str(broken)
    assert main(line) == 2
    errors = [one for one in capsys.readouterr().err.splitlines() if one.startswith("zobench: error")]
    assert len(errors) == 1 and str(broken) in errors[0] and not list((tmp_path / "r" / "cells").glob("*.json"))


@pytest.mark.parametrize(
    ("signum", "status"), named([(signal.SIGINT, 130), (signal.SIGTERM, 143)], [(signal.SIGTERM, 143)])
)
def test_a_signal_reaches_the_cells_and_is_told_in_their_records(world, tmp_path, signum, status):
    line = words(world, tmp_path / "r", *odd(tmp_path, "time.sleep(60)"), "--seeds", "0,1", "--jobs", "2", tasks="sst2")
    process = started(line)
    while not (tmp_path / "once").exists():
        assert process.poll() is None, ended(process)
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = ended(process)
    assert process.returncode == status, err
    stopped = [r for r in read(tmp_path / "r").values() if r["status"] == "interrupted"]
    assert stopped and all(("the user" if status == 130 else "SIGTERM") in r["error"] for r in stopped)


def test_what_is_told_is_shown_once_and_half_a_line_waits(tmp_path):
    shown = io.StringIO()
    progress = Progress(None, 2, Console(file=shown, width=200))
    live = tmp_path / "live" / "run"
    live.mkdir(parents=True)
    teller, listener = Teller(live), Listener(live, progress)
    teller._cell = "c"
    teller._tell("end", line="first")
    file = next(live.glob("*.jsonl"))
    whole = json.dumps({"kind": "end", "cell": "c", "line": "second"}) + "\n"
    with file.open("a") as half:
        half.write(whole[:9])
    listener._look()
    with file.open("a") as rest:
        rest.write(whole[9:])
        rest.write('{"kind": "en{"kind": "end", "line": "behind what a full disk cut"}\n[]\n{}\n')
    with listener:
        pass
    assert shown.getvalue().splitlines() == ["[1/2] first", "[2/2] second"]
    assert not live.parent.exists()


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_jobs_are_a_number_or_auto(world, tmp_path, capsys, jobs):
    assert main(words(world, tmp_path / "r", "-e", "mezo", "--jobs", jobs)) == 2
    assert "--jobs" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_whoever_has_the_number_of_a_parent_or_a_process_is_not_taken_for_it(monkeypatch):
    """The number of one that has ended goes to another; who has it by now started at another time."""
    number, start = processes._me()
    assert (number, start) == (os.getpid(), psutil.Process().create_time())
    sent = []
    monkeypatch.setattr(processes.os, "kill", lambda *told: sent.append(told))
    processes._end_with(number, start - 1)
    processes._end_with(2**22 + 7, start)
    assert sent == [(number, signal.SIGTERM)] * 2
    seen = processes._seen(number)
    assert seen == psutil.Process() and processes._seen(2**22 + 7) is None
    seen._ident = (number, start - 1)
    processes._tell(seen, signal.SIGTERM)  # not heard
    processes._tell(None, signal.SIGTERM)
    assert len(sent) == 2


def test_a_folder_to_listen_in_is_made_with_those_above_it(tmp_path):
    live = tmp_path / "results" / "live" / "run"
    with Listener(live, Progress(SimpleNamespace(), 1, Console(file=io.StringIO()))):
        assert live.is_dir()
    assert not live.exists()
