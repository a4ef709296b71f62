"""Finished work is never lost: reruns, signals, kills, full disks, records of others, and who is told of what."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from kits.faulty_kit import WAITING, in_training
from kits.matrix import named
from kits.processes import ended
from kits.run_kit import carry_out, numbers, plan, plugin_file, run

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.report import store
from zobench.report.running import Claim
from zobench.run import cell_runner, failure, speed_stage, stopping
from zobench.run.artefacts import Artefacts
from zobench.run.diary import Diary
from zobench.run.held_cell import HeldCell
from zobench.run.plan import _again
from zobench.run.progress import Progress
from zobench.run.stages import Stages
from zobench.run.unchanged import Guard
from zobench.tasks.prepared import PreparedTask

FAULTY = """
    import errno, os, signal
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Custom(BaseException):
        pass

    FAULTS = {
        "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        "rust": RuntimeError("Error while serializing: IoError(Os { code: 28, kind: StorageFull })"),
        "error": ValueError("a fault of the plugin"),
        "missing": FileNotFoundError(errno.ENOENT, "No such file"),
        "interrupt": KeyboardInterrupt(),
        "base": Custom("odd"),
    }

    class Faulty(MeZO):
        def iterate(self, losses):
            if self.t == 2 and os.environ.get("FAULT"):
                raise FAULTS[os.environ["FAULT"]]
            return super().iterate(losses)

    @hookimpl
    def zobench_estimators():
        return {"faulty": Faulty}
"""


@pytest.fixture
def faulty(tmp_path):
    return load_plugins([plugin_file(tmp_path, FAULTY)])


def standing(results: Path):
    (one,), problems = store.read(results)
    assert not problems and store.beside(results, [one], hash_weights=True) == ([], [])
    return one


@pytest.mark.parametrize("fault", ["interrupt", "full", "error", "base"])
def test_a_rerun_that_fails_leaves_the_finished_record_and_its_files(
    world, tmp_path, faulty, monkeypatch, fault, capsys
):
    results = tmp_path / "r"
    (good,) = run(world, results, ["faulty"], plugins=faulty)
    before = {p.name: p.read_bytes() for p in (results / "cells").iterdir()}
    monkeypatch.setenv("FAULT", fault)
    made, place = plan(world, results, ["faulty"], plugins=faulty, rerun="always")
    if fault == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            carry_out(made, place)
    else:
        (failed,) = carry_out(made, place)
        assert failed["status"] == "error"
    now = {p.name: p.read_bytes() for p in (results / "cells").iterdir() if not p.name.endswith(".error.txt")}
    assert now == before and standing(results)["status"] == "ok"
    assert "the record of before is better, and stays" in capsys.readouterr().err
    monkeypatch.delenv("FAULT")
    (again,) = run(world, results, ["faulty"], plugins=faulty, rerun="always")
    assert numbers(again) == numbers(good) and len(list((results / "cells").iterdir())) == 3


@pytest.mark.parametrize("fault", ["full", "rust"])
def test_a_failure_of_the_machine_is_marked_and_tried_again(world, tmp_path, faulty, monkeypatch, fault, capsys):
    results = tmp_path / "r"
    monkeypatch.setenv("FAULT", fault)
    (failed,) = run(world, results, ["faulty"], plugins=faulty)
    assert failed["status"] == "error" and failed["retry"] in ("No space left on device", "code: 28")
    monkeypatch.delenv("FAULT")
    made, place = plan(world, results, ["faulty"], plugins=faulty)
    assert [c.id for c in made.todo] == [failed["id"]] and made.retried == {failed["id"]: failed["retry"]}
    (after,) = carry_out(made, place)
    assert after["status"] == "ok" and "retry" not in standing(results)


@pytest.mark.parametrize("fault", ["error", "missing", "base"])
def test_a_failure_of_the_cell_is_not(world, tmp_path, faulty, monkeypatch, fault):
    monkeypatch.setenv("FAULT", fault)
    (failed,) = run(world, tmp_path, ["faulty"], plugins=faulty)
    assert failed["status"] == "error" and "retry" not in failed
    made, _ = plan(world, tmp_path, ["faulty"], plugins=faulty)
    assert not made.todo and not made.retried


def test_the_command_says_what_it_tries_again(world, tmp_path, monkeypatch, capsys):
    path = plugin_file(tmp_path, FAULTY)
    words = [
        "run",
        "-e",
        "faulty",
        "-t",
        "sst2",
        "--model",
        str(world.model),
        "--data-dir",
        str(world.data),
        "--offline",
    ]
    words += ["--steps", "4", "--lr", "1e-3", "--results", str(tmp_path / "r"), "--plugin", str(path)]
    for one in ("num_train=12", "num_dev=6", "num_test=5", "speed_steps=0"):
        words += ["--set", one]
    monkeypatch.setenv("FAULT", "full")
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "(of the machine: No space left on device; the same command runs it again)" in said
    monkeypatch.delenv("FAULT")
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "1 cells to run, 0 done before" in said
    assert "the machine failed it before: No space left on device" in said
    assert main(words) == 0
    assert "0 cells to run, 1 done before" in capsys.readouterr().err


@pytest.mark.parametrize("number", sorted(failure.OF_THE_MACHINE))
def test_errors_of_the_system(number):
    cpu = torch.device("cpu")
    assert failure.retry(OSError(number, os.strerror(number)), cpu) == os.strerror(number)


@pytest.mark.parametrize(("held", "again"), [(None, False), (3 * 2**30, True)])
def test_memory_that_the_system_refuses_is_of_the_machine_where_others_hold_it(monkeypatch, held, again):
    monkeypatch.setattr(failure, "held_by_others", lambda device: held)
    why = failure.retry(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), torch.device("cpu"))
    assert (why is not None) == again
    assert why is None or "3.0 GiB" in why


def test_what_led_to_an_error_counts_and_what_is_missing_or_forbidden_does_not():
    cpu = torch.device("cpu")
    try:
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError as e:
            raise ZobenchError("cannot read the data") from e
    except ZobenchError as e:
        assert failure.retry(e, cpu) == os.strerror(errno.EIO)
    try:
        try:
            raise OSError(errno.EIO, "Input/output error")
        except OSError:
            raise ValueError("while that was handled")  # noqa: B904
    except ValueError as e:
        assert failure.retry(e, cpu) == os.strerror(errno.EIO)
    for number in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR):
        assert failure.retry(OSError(number, os.strerror(number)), cpu) is None
    assert failure.retry(ValueError("code: 281"), cpu) is None


@pytest.mark.parametrize(
    "full", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_memory_that_others_hold_is_the_machines(monkeypatch, full):
    cpu, gib = torch.device("cpu"), 2**30
    monkeypatch.setattr(failure, "_host_memory", lambda: (8 * gib, 16 * gib))
    assert failure.out_of_memory(full)
    assert failure.retry(full, cpu) == "memory was full while other processes held 8.0 GiB of it"
    monkeypatch.setattr(failure, "_host_memory", lambda: (gib, 16 * gib))
    assert failure.retry(full, cpu) is None


def test_memory_of_a_gpu_that_this_process_holds_is_not_of_others(monkeypatch):
    gib = 2**30
    card = SimpleNamespace(mem_get_info=lambda device: (2 * gib, 16 * gib), memory_reserved=lambda device: 10 * gib)
    monkeypatch.setattr("zobench.devices.of_kind", lambda kind: card)
    assert failure.held_by_others(torch.device("cuda:0")) == 4 * gib
    card.memory_reserved = lambda device: 13 * gib
    assert failure.held_by_others(torch.device("cuda:0")) is None


def test_memory_of_the_host_is_read():
    known = failure._host_memory()
    if sys.platform == "linux":
        assert known is not None and 0 <= known[0] < known[1]


# ---- what lies where a record goes


@pytest.mark.parametrize("content", ['{"schema": 99, "id": "x"}', "unreadable"])
def test_a_record_of_a_newer_version_or_one_that_may_not_be_read_is_refused_at_planning(
    world, tmp_path, content, monkeypatch
):
    (one,) = run(world, tmp_path, ["mezo"])
    path = store.files(tmp_path, one["id"]).record
    if content == "unreadable":
        original = Path.read_bytes
        denied = PermissionError(errno.EACCES, "Permission denied")

        def refuse(self):
            if self == path:
                raise denied
            return original(self)

        monkeypatch.setattr(Path, "read_bytes", refuse)
    else:
        path.write_text(content)
    before = sorted(p.name for p in (tmp_path / "cells").iterdir())
    with pytest.raises(ZobenchError, match=f"{one['id']}.json: .*(newer|cannot be read)"):
        plan(world, tmp_path, ["mezo"])
    with pytest.raises(ZobenchError, match="newer|cannot be read"):
        plan(world, tmp_path, ["mezo"], rerun="always")
    assert sorted(p.name for p in (tmp_path / "cells").iterdir()) == before
    plan(world, tmp_path, ["sparse_mezo"])  # it is nothing to other cells


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"[1]", "edited"])
def test_what_is_no_record_is_kept_under_another_name(world, tmp_path, content, capsys):
    (one,) = run(world, tmp_path, ["mezo"])
    path = store.files(tmp_path, one["id"]).record
    if content == "edited":
        content = path.read_bytes().replace(b'"status": "ok"', b'"status": "ok" ').replace(b"0.001", b"0.002")
    path.write_bytes(content)
    capsys.readouterr()
    made, place = plan(world, tmp_path, ["mezo"])
    assert len(made.todo) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cells/{one['id']}.json: " in line and "kept as cells/*.aside" in line
    assert path.read_bytes() == content, "planning changes nothing"
    carry_out(made, place)
    (aside,) = (tmp_path / "cells").glob("*.aside")
    assert aside.read_bytes() == content and numbers(standing(tmp_path)) == numbers(one)


# ---- which cells run again


@pytest.mark.parametrize("status", ["ok", "diverged", "oom", "error", "interrupted"])
def test_which_records_run_again(status):
    one = {"status": status}
    assert _again(one, "always") is True
    assert _again(one, "missing") is (status == "interrupted")
    assert _again(one, "failed") is (status != "ok")
    assert _again({**one, "retry": "x"}, "missing") is True


@pytest.fixture
def command(world, tmp_path):
    def words(*more: str) -> list[str]:
        sets = ("num_train=12", "num_dev=6", "num_test=5", "batch_size=3", "speed_steps=0")
        given = [
            "run",
            "-e",
            "mezo",
            "-t",
            "sst2",
            "--model",
            str(world.model),
            "--data-dir",
            str(world.data),
            "--offline",
        ]
        given += ["--results", str(tmp_path / "r"), "--device", "cpu", *more]
        return given + [word for one in sets for word in ("--set", one)]

    return words


def test_rerun_reaches_the_plan_and_a_failing_command_given_again_still_fails(command, capsys):
    words = command("--steps", "4", "--lr", "1e60")
    assert main(words) == 1
    capsys.readouterr()
    assert main(words) == 1, "what failed before is not made good by being done before"
    said = capsys.readouterr().err
    assert "0 cells to run, 1 done before" in said and said.count("\nfailed: ") == 1
    for value, todo in (("failed", 1), ("always", 1), ("missing", 0)):
        assert main([*words, "--rerun", value]) == 1
        assert f"{todo} cells to run" in capsys.readouterr().err
    good = command("--steps", "4", "--lr", "1e-3")
    assert main(good) == 0
    for value, todo in (("failed", 0), ("always", 1), ("missing", 0)):
        capsys.readouterr()
        assert main([*good, "--rerun", value]) == 0
        assert f"{todo} cells to run" in capsys.readouterr().err


# ---- signals


@pytest.fixture
def waiting(command, tmp_path):
    """The words of a short run of a method that waits in training where WAIT is set."""
    plugin = plugin_file(tmp_path, WAITING)
    words = command("--steps", "4", "--set", "eval_every=2", "--lr", "1e-3", "--plugin", str(plugin))
    return [{"mezo": "waiting"}.get(word, word) for word in words]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_does_what_control_c_does(waiting, tmp_path, number):
    results = tmp_path / "r"
    process = in_training(waiting, results)
    process.send_signal(number)
    process.send_signal(number)
    out, err = ended(process)
    assert process.returncode == 128 + number, err
    told = err.splitlines()[-2:]
    assert told[0].startswith("the same command goes on") and told[1] == f"zobench: stopped by {number.name}"
    assert "Traceback" not in out + err
    one = standing(results)
    assert one["status"] == "interrupted" and one["error"] == f"interrupted by {number.name}"
    assert not list((results / "cells").glob(".*"))
    assert main(["leaderboard", str(results), "--check"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_leaves_the_old_record_and_the_next_run_sweeps(waiting, tmp_path):
    results = tmp_path / "r"
    assert main(waiting) == 0
    before = standing(results)
    files = {p.name: p.read_bytes() for p in (results / "cells").iterdir()}
    process = in_training([*waiting, "--rerun", "always"], results)
    process.kill()
    ended(process)
    assert process.returncode == -signal.SIGKILL and standing(results) == before
    left = [p for p in (results / "cells").iterdir() if p.name not in files]
    assert left and all(p.name.startswith(".") for p in left)
    assert main(waiting) == 0  # nothing to do, but to sweep
    assert {p.name: p.read_bytes() for p in (results / "cells").iterdir()} == files


def test_a_signal_waits_while_a_record_is_written(world, tmp_path, monkeypatch):
    put = Artefacts.put

    def slow(self, record, traceback):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return put(self, record, traceback)

    monkeypatch.setattr(Artefacts, "put", slow)
    made, place = plan(world, tmp_path, ["mezo"])
    with stopping.stoppable(), pytest.raises(KeyboardInterrupt):
        carry_out(made, place)
    assert standing(tmp_path)["status"] == "ok"


STRUCK = [(Guard, "put_back"), (cell_runner, "as_record"), (Artefacts, "put"), (Progress, "cell_end")]
STRUCK += [(HeldCell, "close"), (Claim, "release")]


POINTS = [
    (Stages, "_select", "interrupted"),
    (Diary, "stepped", "interrupted"),
    (Diary, "_write", "interrupted"),
    (PreparedTask, "dev_score", "interrupted"),
    (PreparedTask, "test_score", "interrupted"),
    (speed_stage, "of_cell", "interrupted"),
    (Artefacts, "put", "ok"),
]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("where", "name", "status"), named(POINTS, [POINTS[i] for i in (1, 4, 6)]))
def test_further_signals_do_not_cut_the_end_short(world, tmp_path, monkeypatch, where, name, status):
    """The first comes at a point of the cell, and one at each point of what follows it."""
    few = {"speed_steps": 1, "speed_warmup": 1}
    (whole,) = run(world, tmp_path / "whole", ["mezo"], **few)
    results, sent = tmp_path / "r", []

    def struck(of, name, *, first):
        plain = getattr(of, name)

        def wrapped(*args, **options):
            if first or sent:
                sent.append(name)
                signal.raise_signal(signal.SIGINT if len(sent) % 3 == 0 else signal.SIGTERM)
            return plain(*args, **options)

        patch.setattr(of, name, wrapped)

    with monkeypatch.context() as patch:
        made, place = plan(world, results, ["mezo"], **few)
        for one in STRUCK:
            if one != (where, name):
                struck(*one, first=False)
        struck(where, name, first=True)
        with stopping.stoppable(), pytest.raises(KeyboardInterrupt):
            carry_out(made, place)
        assert stopping.heard() is None
    assert len(sent) > 3 and standing(results)["status"] == status
    assert not [*results.rglob("*.claim-*"), *(results / "cells").glob(".*")]
    (record,) = run(world, results, ["mezo"], **few) or [standing(results)]
    assert numbers(record) == numbers(whole)


@pytest.fixture
def control_c():
    """Ctrl-C as a terminal has it: what a shell starts in its background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("control_c")
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_later_signal_is_heard_again_and_so_is_one_that_was_caught(monkeypatch):
    told = signal.raise_signal  # to this thread: what another one takes for the process is heard a little later
    with stopping.stoppable():
        with pytest.raises(stopping.Stopped):
            told(signal.SIGTERM)
        with stopping.held():
            told(signal.SIGTERM)
        told(signal.SIGINT)
        with pytest.raises(stopping.Stopped):
            stopping.check()
        monkeypatch.setattr(stopping, "AGAIN_S", 0.0)
        with pytest.raises(KeyboardInterrupt), stopping.held():
            told(signal.SIGINT)
    stopping.check()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_a_signal_inside_two_holds_waits_for_the_outer_one():
    said = []
    with stopping.stoppable(), pytest.raises(stopping.Stopped), stopping.held():
        with stopping.held():
            signal.raise_signal(signal.SIGTERM)
        said.append("the inner is over")
    assert said == ["the inner is over"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_what_is_ignored_stays_ignored_and_handlers_are_given_back():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(stopping.Stopped) as told:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1)
        assert told.value.status == 143 and stopping.by(told.value) == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_log_of_steps_is_json_also_where_a_loss_is_no_number(tmp_path: Path):
    artefacts = Artefacts(tmp_path, "a-b-c-s0-0")
    artefacts.log(lr=1.0, step=1, loss=math.nan)
    artefacts.log(lr=1.0, step=2, dev_loss=-math.inf)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in artefacts.files.steps.read_text().splitlines()]
    assert lines == [{"lr": 1.0, "step": 1, "loss": None}, {"lr": 1.0, "step": 2, "dev_loss": None}]
