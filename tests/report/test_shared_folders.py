"""Folders that several processes and machines write to: claims, how far they are, merging, cleaning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from kits.records import record

from zobench.cli import main, status
from zobench.errors import ZobenchError
from zobench.report import cleaning, disk, merging, progress_of_grid, running, store
from zobench.report.progress_of_grid import GridProgress
from zobench.report.running import Claim, Holder
from zobench.report.seal import file_info
from zobench.run import events

# ---- claims


def test_of_many_that_try_one_has_it(tmp_path):
    found: list[Claim | Holder] = []
    go = threading.Barrier(16)

    def take():
        go.wait()
        found.append(Claim.take(tmp_path / "running", "cell"))

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (ours,) = [one for one in found if isinstance(one, Claim)]
    assert all(isinstance(one, Claim) or (one.facts["pid"] == os.getpid() and not one.dead) for one in found)
    assert ours.still_ours()
    ours.release()
    ours.release()
    assert not (tmp_path / "running").exists()
    again = Claim.take(tmp_path / "running", "cell")
    assert isinstance(again, Claim)
    again.release()


CHILD = """
import sys, time
from pathlib import Path
from zobench.report.running import Claim
claim = Claim.take(Path(sys.argv[1]), "cell")
print(type(claim).__name__, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_holder_that_was_killed_is_followed_at_once_and_one_that_lives_is_not(tmp_path):
    folder = tmp_path / "running"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "Claim\n"
    other = Claim.take(folder, "cell")
    assert isinstance(other, Holder) and other.facts["pid"] == child.pid and f"process {child.pid}" in str(other)
    os.utime(other.path, (0, 0))
    assert isinstance(Claim.take(folder, "cell"), Holder), "of this machine it is known that it lives"
    child.kill()
    child.wait()
    ours = Claim.take(folder, "cell")
    assert isinstance(ours, Claim) and running.generation(ours.path) == 1
    assert [p.name for p in running.files(folder)] == ["cell.claim-1"]
    ours.release()


def elsewhere(folder: Path, silent_s: float) -> Path:
    """A claim of another machine, whose clock may say what it likes."""
    folder.mkdir(exist_ok=True)
    path = folder / "cell.claim-0"
    path.write_text(json.dumps({"host": "far", "machine": "00000000", "pid": 1, "since": "2099-01-01T00:00:00Z"}))
    then = time.time() - silent_s
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize(
    ("silent_s", "followed"), [(0, False), (running.STALE_S / 2, False), (running.STALE_S + 9, True)]
)
def test_a_holder_on_another_machine_is_followed_when_it_was_silent_for_long(tmp_path, monkeypatch, silent_s, followed):
    monkeypatch.setattr(running, "CONFIRM_S", 0.02)
    monkeypatch.setattr(running, "LOOK_S", 0.01)
    folder = tmp_path / "running"
    elsewhere(folder, silent_s)
    claim = Claim.take(folder, "cell")
    assert isinstance(claim, Claim) is followed
    if isinstance(claim, Claim):
        claim.release()


@pytest.fixture
def soon(monkeypatch):
    """Claims of other machines are watched for moments."""
    for name, seconds in {"CONFIRM_S": 0.02, "LOOK_S": 0.01, "STALE_S": 0.1}.items():
        monkeypatch.setattr(running, name, seconds)


@pytest.mark.parametrize("ahead_s", [-86400.0, 3600.0])
def test_a_clock_of_ours_that_is_wrong_follows_no_holder_that_lives(tmp_path, monkeypatch, ahead_s):
    monkeypatch.setattr(running, "CONFIRM_S", 0.02)
    folder, now = tmp_path / "running", time.time
    elsewhere(folder, 0)
    monkeypatch.setattr(time, "time", lambda: now() + ahead_s)
    assert isinstance(Claim.take(folder, "cell"), Holder)


def test_a_dead_holder_whose_clock_was_ahead_is_followed_once_it_was_watched(tmp_path, soon):
    """Its last sign of life lies an hour in the future, by the server's clock."""
    folder = tmp_path / "running"
    elsewhere(folder, -3600)
    first = running.holder(folder, "cell")
    assert first is not None and not first.dead
    time.sleep(0.2)
    claim = Claim.take(folder, "cell")
    assert isinstance(claim, Claim)
    claim.release()


def test_one_with_our_host_name_and_number_on_another_machine_is_another(tmp_path):
    """Containers have the same names and numbers; their process namespaces tell them apart."""
    folder = tmp_path / "running"
    path = elsewhere(folder, 0)
    ours = running._own_facts()
    path.write_text(json.dumps({**ours, "machine": "00000000"}))
    assert isinstance(Claim.take(folder, "cell"), Holder)
    path.write_text(json.dumps({**ours, "born": "1"}))  # on ours it is dead at once, whoever has its number
    claim = Claim.take(folder, "cell")
    assert isinstance(claim, Claim)
    claim.release()


BAD = ["", "{", "[1]", "null", '{"machine": 5}', '{"machine": OURS}', '{"machine": OURS, "pid": "x"}']
BAD += ['{"machine": OURS, "pid": -1, "born": 3}', '{"machine": OURS, "pid": true}', "[" * 3000, "\x00" * 50]


@pytest.mark.parametrize("text", BAD, ids=[text[:24] for text in BAD])
def test_a_claim_that_says_nothing_of_a_process_is_followed_when_it_was_silent(tmp_path, soon, text):
    folder = tmp_path / "running"
    path = elsewhere(folder, 0)
    path.write_text(text.replace("OURS", json.dumps(disk.machine())))
    os.utime(path, (0, 0))
    claim = Claim.take(folder, "cell")
    assert isinstance(claim, Claim) and running.generation(claim.path) == 1
    claim.release()


def test_one_that_slept_finds_that_it_was_followed_and_leaves_what_is_the_others(tmp_path):
    folder = tmp_path / "running"
    slept = Claim.take(folder, "cell")
    assert isinstance(slept, Claim)
    follower = folder / "cell.claim-1"
    follower.write_text(json.dumps({"host": "far", "machine": "00000000", "pid": 1}))
    slept.path.unlink()
    assert not slept.still_ours() and slept.lost
    slept.release()
    assert follower.exists()


def test_signs_of_life_tell_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "BEAT_S", 0.01)
    claim = Claim.take(tmp_path / "running", "cell")
    assert isinstance(claim, Claim)
    claim.facts = {"doing": "training", "step": 7}
    until = time.monotonic() + 30
    while time.monotonic() < until:
        held = running.holders(tmp_path / "running")["cell"]
        if held.facts.get("step") == 7:
            break
        time.sleep(0.01)
    assert held.facts["doing"] == "training" and held.facts["pid"] == os.getpid()
    claim.release()


# ---- status


def cells(*records):
    return [{"id": r["id"], **{k: r["cell"][k] for k in ("task", "estimator", "selector", "seed")}} for r in records]


def test_what_is_done_running_failed_and_left(tmp_path, capsys):
    made = [record(seed=seed) for seed in range(6)]
    progress_of_grid.plan(tmp_path, cells(*made))
    for done in made[:2]:
        done["time"]["total_s"] = 600.0
        store.write(tmp_path, done)
    store.write(tmp_path, record(seed=2, status="diverged", error="no"))
    store.write(tmp_path, record(seed=3, status="interrupted", error="by SIGTERM"))
    claim = Claim.take(tmp_path / "running", made[4]["id"])
    assert isinstance(claim, Claim)
    claim.facts = {"lr": 1e-3, "step": 30, "steps": 40}
    claim.tell()
    (tmp_path / "running" / f"{made[3]['id']}.journal").touch()
    found = progress_of_grid.look(tmp_path)
    assert [sorted(x) for x in (found.done, found.failed, found.running, found.left, found.begun)] == [
        sorted(r["id"] for r in some) for some in (made[:2], made[2:3], made[4:5], (made[3], made[5]), made[3:4])
    ]
    assert found.to_go_s == 1800.0
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}: 2 done, 1 running, 1 failed, 2 left (1 of them begun); about 30 min to go" in said
    assert "lr 0.001, step 30 of 40" in said and f"process {os.getpid()}" in said and "diverged" in said
    goes_on = "The command of the run, given again, goes on with these."
    assert goes_on not in said, "it is running"
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left"] == sorted(r["id"] for r in (made[3], made[5]))
    claim.release()
    made[0]["time"]["total_s"] = made[1]["time"]["total_s"] = 2730.0
    for done in made[:2]:
        store.write(tmp_path, done)
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert goes_on in said and "; about 2 h 16 min to go with one process" in said
    for rest in made[3:]:
        store.write(tmp_path, rest)
    (tmp_path / "running" / f"{made[3]['id']}.journal").unlink()
    progress_of_grid.settle(tmp_path)
    assert not (tmp_path / "running").exists()


def test_what_runs_side_by_side_is_done_sooner(tmp_path):
    made = [record(seed=seed) for seed in range(4)]
    progress_of_grid.plan(tmp_path, cells(*made))
    made[0]["time"]["total_s"] = 100.0
    store.write(tmp_path, made[0])
    both = [Claim.take(tmp_path / "running", one["id"]) for one in made[1:3]]
    assert progress_of_grid.look(tmp_path).to_go_s == 150.0  # three cells by two processes
    for claim in both:
        claim.release()


def test_status_of_no_results_folder_is_one_line(tmp_path, capsys):
    assert main(["status", str(tmp_path / "none")]) == 2
    assert "no results folder" in capsys.readouterr().err


# ---- merging


def folder_of(path: Path, *records) -> Path:
    for one in records:
        store.write(path, one)
    return path


def test_two_folders_become_one_byte_for_byte(tmp_path, capsys):
    a = folder_of(tmp_path / "a", record(seed=0), record(seed=1))
    again = record(seed=1)
    again["time"]["total_s"] = 99.0
    again["forwards"]["speed"] = 42  # its process had measured the baseline before
    b = folder_of(tmp_path / "b", again, record(seed=2), record(seed=3, status="interrupted", error="x"))
    assert main(["merge", str(a), str(b), "-o", str(tmp_path / "c")]) == 0
    assert "4 records, 2 of" in capsys.readouterr().out
    files = {p.name: p.read_bytes() for p in (tmp_path / "c" / "cells").iterdir()}
    assert files == {p.name: p.read_bytes() for folder in (b, a) for p in (folder / "cells").iterdir()}
    assert main(["merge", str(a), "-o", str(tmp_path / "c")]) == 2
    assert "has records" in capsys.readouterr().err


def test_what_is_good_goes_before_what_is_not(tmp_path):
    a = folder_of(tmp_path / "a", record(status="error", error="no"))
    b = folder_of(tmp_path / "b", record())
    for order in ((a, b), (b, a)):
        out = tmp_path / f"of-{order[0].name}"
        merging.merge(order, out)
        assert store.read(out)[0][0]["status"] == "ok"


def test_conflicts_seals_and_other_data_are_named_and_nothing_is_written(tmp_path):
    a = folder_of(tmp_path / "a", record(test=80), record(seed=7))
    b = folder_of(tmp_path / "b", record(test=81), record(seed=8))
    path = store.files(b, record(seed=8)["id"]).record
    path.write_bytes(path.read_bytes().replace(b'"bytes"', b'"byte"', 1) + b" ")
    c = folder_of(tmp_path / "c", record(seed=9, data_revision="other"))
    path.write_text(path.read_text().replace('"error": null', '"error": null, "x": 1'))
    with pytest.raises(ZobenchError) as told:
        merging.merge([a, b, c], tmp_path / "out")
    lines = str(told.value).splitlines()
    assert any("have other numbers of it (metrics): --prefer one of them" in line for line in lines)
    assert any("it was changed after it was written" in line for line in lines)
    assert any("is of other data, or another version" in line for line in lines)
    assert not (tmp_path / "out").exists()
    path.unlink()
    merging.merge([a, b], tmp_path / "out", prefer=b)
    (kept,) = [r for r in store.read(tmp_path / "out")[0] if r["id"] == record()["id"]]
    assert kept["metrics"]["test"]["value"] == 0.81


def test_weights_beside_a_record_are_read_before_they_are_merged(tmp_path):
    """A size that is right is not enough here."""
    one, two = record(), record(seed=1)
    weights = store.files(tmp_path / "a", one["id"]).weights
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"as they were")
    one["files"] = {"weights": file_info(weights)}
    folders = [folder_of(tmp_path / "a", one), folder_of(tmp_path / "b", two)]
    weights.write_bytes(b"as they_were")
    with pytest.raises(ZobenchError, match=weights.name):
        merging.merge(folders, tmp_path / "out")
    weights.write_bytes(b"as they were")
    assert merging.merge(folders, tmp_path / "out").records == 2
    assert store.files(tmp_path / "out", one["id"]).weights.read_bytes() == b"as they were"


# ---- cleaning


def test_the_folder_to_prefer_is_one_of_those_that_are_merged(tmp_path, capsys):
    folders = [str(folder_of(tmp_path / name, record(test=n))) for name, n in (("a", 80), ("b", 81))]
    out = tmp_path / "out"
    assert main(["merge", *folders, "--out", str(out), "--prefer", str(tmp_path / "c")]) == 2
    assert "name one of the folders that are merged" in capsys.readouterr().err and not out.exists()
    assert main(["merge", *folders, "--out", str(out), "--prefer", folders[1]]) == 0


def test_nothing_of_a_cell_that_runs_is_listed(tmp_path):
    old, new = record(settings={"eps": 1e-2}), record()
    new["environment"]["started"] = "2026-01-02T00:00:00Z"
    results = folder_of(tmp_path, old, new)
    claim = Claim.take(results / "running", old["id"])
    assert cleaning.find(results).older == {}
    claim.release()
    assert cleaning.find(results).older == {old["id"]: new["id"]}


def test_older_settings_and_leftovers_are_listed_then_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(running, "CONFIRM_S", 0.02)
    monkeypatch.setattr(running, "LOOK_S", 0.01)
    old, new = record(settings={"eps": 1e-2}), record()
    old["environment"]["started"], new["environment"]["started"] = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    results = folder_of(tmp_path / "r", old, new, record("lozo"))
    folder = results / "running"
    elsewhere(folder, running.STALE_S + 9)
    (folder / f"{new['id']}.journal").touch()
    (folder / "sst2-unknown-all-s0-0.journal").touch()
    alive = Claim.take(folder, "alive")
    assert isinstance(alive, Claim)
    before = sorted(p for p in results.rglob("*") if p.is_file())
    assert main(["clean", str(results)]) == 0
    said = capsys.readouterr().out
    assert f"older than {new['id']}" in said and "claim of a process that is dead" in said and "3 to remove" in said
    assert sorted(p for p in results.rglob("*") if p.is_file()) == before
    assert main(["clean", str(results), "--no-older"]) == 0
    assert "older than" not in capsys.readouterr().out
    assert main(["clean", str(results), "--yes"]) == 0
    left = {p.name for p in results.rglob("*") if p.is_file()}
    assert left == {
        f"{new['id']}.json",
        f"{record('lozo')['id']}.json",
        "alive.claim-0",
        "sst2-unknown-all-s0-0.journal",
    }
    alive.release()
    assert main(["clean", str(results)]) == 0
    assert "nothing to remove" in capsys.readouterr().out
    assert not cleaning.find(results).older


def test_a_far_claim_that_lives_after_all_is_not_listed(tmp_path, monkeypatch):
    """Its clock may be hours behind: it is watched, and gives a sign of life."""
    monkeypatch.setattr(running, "LOOK_S", 0.01)
    results = folder_of(tmp_path, record())
    path = elsewhere(results / "running", running.STALE_S + 9)
    looked, sleep = [], time.sleep
    monkeypatch.setattr(running.time, "sleep", lambda s: looked.append(s) or os.utime(path, (9, 9)) or sleep(s))
    assert cleaning.find(results).left == {} and looked


def dead_claim(folder: Path, cell: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{cell}.claim-3").write_text(
        json.dumps({"host": "here", "machine": disk.machine(), "pid": os.getpid(), "born": "1"})
    )


def test_every_run_removes_what_dead_processes_left_of_cells_that_are_done(tmp_path):
    done, failed, lost = record(), record(seed=1, status="error", error="x"), record(seed=2)
    results, folder = folder_of(tmp_path, done, failed), tmp_path / "running"
    for one in (done, failed, lost):
        dead_claim(folder, one["id"])
        (folder / f"{one['id']}.journal").touch()
        (folder / f"{one['id']}.0a1b2c3d.1.weights.safetensors").touch()
    draft = f".0a1b2c3d4e5f.draft-{disk.machine()}-{2**22 + 7}-0a1b2c3d.planned.tmp"
    for where in (folder, results / "cells", results / "zero_shot"):
        where.mkdir(exist_ok=True)
        (where / draft).touch()
    cleaning.sweep(results)
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {failed["id"], lost["id"]}
    assert len(list(folder.iterdir())) == 6 and not [*results.rglob("*.tmp")]
    claim = Claim.take(folder, done["id"])  # of a run with --rerun always
    (folder / f"{done['id']}.journal").touch()
    cleaning.sweep(results)
    assert (folder / f"{done['id']}.journal").exists() and claim.still_ours()
    claim.release()
    for one in (failed, lost):
        store.write(results, {**one, "status": "diverged", "error": "x"} if one is failed else one)
    cleaning.sweep(results)
    assert not folder.exists()


def test_what_is_told_of_runs_that_are_dead_is_removed(tmp_path):
    events.begin(tmp_path / ".live" / "mine")
    for name, mark in (("dead", f"{disk.machine()} {os.getpid()} 1"), ("far", f"00000000 {os.getpid()} 1")):
        (tmp_path / ".live" / name).mkdir()
        (tmp_path / ".live" / name / "owner").write_text(mark)
    (tmp_path / ".live" / "early").mkdir()
    events.sweep(tmp_path)
    assert {path.name for path in (tmp_path / ".live").iterdir()} == {"mine", "far", "early"}
    for path in (tmp_path / ".live").iterdir():
        os.utime(path, (0, 0))
    events.sweep(tmp_path)
    assert not (tmp_path / ".live").exists()


def test_a_folder_that_another_removes_as_it_is_made_is_made_again(tmp_path, monkeypatch):
    made, times = Path.mkdir, []

    def mkdir(self, *args, **options):
        made(self, *args, **options)
        if len(times) < 3:
            times.append(self.rmdir())

    monkeypatch.setattr(Path, "mkdir", mkdir)
    disk.write_text(tmp_path / "running" / "x", "x")
    assert (tmp_path / "running" / "x").read_text() == "x" and len(times) == 3


@pytest.mark.parametrize(
    ("seconds", "left", "running", "said"),
    [
        (None, 1, 1, ""),
        (90.0, 0, 0, ""),
        (10.0, 1, 0, "; about 1 min to go with one process"),
        (3540.0, 0, 2, "; about 59 min to go with 2 processes"),
        (3600.0, 1, 1, "; about 1 h 00 min to go with one process"),
        (8130.0, 1, 3, "; about 2 h 16 min to go with 3 processes"),
    ],
)
def test_the_time_to_go_is_said_while_there_is_some(seconds, left, running, said):
    found = GridProgress(
        left={str(k): {} for k in range(left)}, running={str(k): None for k in range(running)}, to_go_s=seconds
    )
    assert status._to_go(found) == said
