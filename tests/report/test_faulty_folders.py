"""Claims where the file system is one of a network: no links, lost answers, clocks that are apart."""

from __future__ import annotations

import errno
import json
import os
import threading
import time

import pytest

from zobench.report import running, store
from zobench.report.running import Claim, Holder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links of POSIX")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(running, "CONFIRM_S", 0.05)
    monkeypatch.setattr(running, "LOOK_S", 0.005)


def takers(folder, n=8):
    """What so many threads get that try at once."""
    found, go = [], threading.Barrier(n)

    def take():
        go.wait()
        found.append(Claim.take(folder, "cell"))

    threads = [threading.Thread(target=take) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refused(number):
    def link(source, to):
        raise OSError(number, os.strerror(number))

    return link


def lost(number):
    """A link that is made, and whose answer is lost: the client tries again, or gives up."""
    real = os.link

    def link(source, to):
        real(source, to)
        raise OSError(number, os.strerror(number), str(to))

    return link


def open_files():
    """How many this process has open, where the system says."""
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize(
    "link",
    [
        refused(errno.EPERM),
        refused(errno.EOPNOTSUPP),
        refused(errno.EXDEV),
        lost(errno.EEXIST),
        lost(errno.EIO),
        lost(errno.ETIMEDOUT),
    ],
)
def test_of_many_that_try_one_has_it_on_any_system(tmp_path, monkeypatch, link):
    monkeypatch.setattr(os, "link", link)
    before = open_files()
    found = takers(tmp_path / "running")
    (ours,) = [one for one in found if isinstance(one, Claim)]
    assert ours.still_ours() and len([one for one in found if isinstance(one, Holder)]) == 7
    assert json.loads(ours.path.read_text())["pid"] == os.getpid()
    ours.release()
    assert open_files() == before
    again = Claim.take(tmp_path / "running", "cell")
    assert isinstance(again, Claim)
    again.release()


def test_a_holder_whose_answer_is_stale_is_seen_when_it_is_opened_again(tmp_path, monkeypatch):
    """Where the server is away, a claim is neither lost nor followed."""
    claim = Claim.take(tmp_path / "running", "cell")
    real = os.stat

    def stat(path, *args, **more):
        if str(path) == str(claim.path):
            raise OSError(errno.ESTALE, "stale")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "stat", stat)
    assert claim.still_ours()
    monkeypatch.setattr(os, "stat", real)
    claim.release()


class Far:
    """A holder on another machine, whose files are stamped by its own clock, `ahead` of ours by so many seconds."""

    def __init__(self, folder, ahead):
        folder.mkdir(exist_ok=True)
        self.path, self.ahead, self.beats, self.lives = folder / "cell.claim-0", ahead, 0, True
        self.beat()

    def beat(self):
        self.beats += 1
        said = {"host": "far", "machine": "00000000", "pid": 1, "step": self.beats}
        self.path.write_text(json.dumps(said))
        then = time.time() + self.ahead + running.BEAT_S * self.beats
        os.utime(self.path, (then, then))


class Clock:
    """Our own clock, which only sleeping moves; meanwhile a far holder that lives gives its signs of life."""

    def __init__(self, far):
        self.now, self.far, self.time, self.strftime, self.gmtime = 0.0, far, time.time, time.strftime, time.gmtime

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        before = self.now // running.BEAT_S
        self.now += seconds
        if self.far.lives and self.now // running.BEAT_S > before:
            self.far.beat()


@pytest.fixture
def far(tmp_path, monkeypatch, request):
    made = Far(tmp_path / "running", request.param)
    monkeypatch.setattr(running, "time", Clock(made))
    monkeypatch.setattr(running, "CONFIRM_S", 25.0)
    monkeypatch.setattr(running, "LOOK_S", 0.5)
    monkeypatch.setattr(running, "_SEEN", {})
    return made


@pytest.mark.parametrize("far", [-3600.0, 0.0, 3600.0], indirect=True)
def test_a_holder_that_lives_is_not_followed_whatever_its_clock_says(tmp_path, far):
    for _ in range(3):
        found = Claim.take(tmp_path / "running", "cell")
        assert isinstance(found, Holder) and found.facts["host"] == "far" and not found.dead
        running.time.sleep(running.STALE_S / 2)
    assert running.time.now < 4 * running.STALE_S, "one that was seen to live is not waited for"


@pytest.mark.parametrize("far", [-3600.0, 0.0, 3600.0], indirect=True)
def test_one_that_is_dead_is_followed_whatever_its_clock_said(tmp_path, far):
    far.lives = False
    if far.ahead >= 0:
        assert isinstance(Claim.take(tmp_path / "running", "cell"), Holder)
        running.time.sleep(running.STALE_S + 1)
    found = Claim.take(tmp_path / "running", "cell")
    assert isinstance(found, Claim) and running.generation(found.path) == 1
    assert running.time.now <= running.STALE_S + 2
    found.release()


def test_a_file_of_128_mib_is_no_record(tmp_path):
    (tmp_path / "cells").mkdir()
    with (tmp_path / "cells" / "x.json").open("wb") as file:
        file.truncate(2**27 + 1)
    (problem,) = store.read(tmp_path)[1]
    assert "134217729 bytes are too many for a record" in str(problem)
