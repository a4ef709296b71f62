"""A process is its number and its start: nothing is done to whoever has the number later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from zobench.report import disk, processes


@pytest.fixture
def child():
    made = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.kill()
    made.wait()
    made.stdin.close()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("system", ["with handles of processes", "without"])
def test_a_signal_goes_to_the_process_that_was_meant(child, monkeypatch, system):
    if system == "without":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    since = processes.born(child.pid)
    assert since is not None and processes.alive(child.pid, since) and not processes.alive(child.pid, "1")
    for other in ("1", None):
        assert not processes.signalled(child.pid, other, signal.SIGKILL)
    assert child.poll() is None
    assert processes.signalled(child.pid, since, signal.SIGKILL)
    assert child.wait(timeout=60) == -signal.SIGKILL
    assert not processes.signalled(child.pid, since, signal.SIGKILL) and not processes.alive(child.pid)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="handles of processes")
def test_a_system_that_refuses_handles(child, monkeypatch):
    def refused(pid):
        raise OSError(1, "no")

    monkeypatch.setattr(os, "pidfd_open", refused)
    assert processes.signalled(child.pid, processes.born(child.pid), signal.SIGTERM)
    assert child.wait(timeout=60) == -signal.SIGTERM


def test_a_draft_of_one_that_is_dead_is_swept_whoever_has_its_number(tmp_path):
    own = disk.draft(tmp_path / "a.steps.jsonl")
    number, since = os.getpid(), processes.born(os.getpid())
    assert f"-{number}b{since}-" in own.name
    theirs = own.with_name(own.name.replace(f"b{since}-", "b1-"))
    before = own.with_name(own.name.replace(f"b{since}-", "-"))  # as earlier versions named them
    for path in (own, theirs, before):
        path.touch()
    assert disk.sweep(tmp_path) == [theirs.name]
    assert own.exists() and before.exists()
