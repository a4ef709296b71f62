"""New files beside old ones: at whatever point a process ends, the record that stands has its files and is whole."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from kits.matrix import named
from kits.records import record

from zobench.errors import ZobenchError
from zobench.report import disk, store, swap

KINDS = ("steps", "replay", "weights", "error")


def write_sides(files: store.Files, content: str, kinds: tuple[str, ...] = ("steps", "replay")) -> None:
    for kind in kinds:
        getattr(files, kind).parent.mkdir(parents=True, exist_ok=True)
        getattr(files, kind).write_text(f"{kind} of {content}")


def put(results: Path, one: Any, content: str, kinds: tuple[str, ...] = ("steps", "replay")) -> bool:
    written = swap.drafts(results, one["id"])
    write_sides(written, content, kinds)
    return swap.put(results, one, written)


def names(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "cells").iterdir())


def standing(results: Path) -> Any:
    """The one record, which must be whole, with all its files."""
    (one,), problems = store.read(results)
    assert not problems
    assert store.beside(results, [one], hash_weights=True) == ([], [])
    return one


def content(results: Path, one: Any, kind: str = "replay") -> str:
    return getattr(store.files(results, one), kind).read_text()


def test_a_first_run_has_the_usual_names(tmp_path: Path):
    one = record()
    assert put(tmp_path, one, "a")
    assert names(tmp_path) == [f"{one['id']}.{end}" for end in ("json", "replay.bin", "steps.jsonl")]
    assert standing(tmp_path)["files"].keys() == {"steps", "replay"}


def test_a_second_run_with_the_same_bytes_keeps_the_names(tmp_path: Path):
    put(tmp_path, record(test=80), "a")
    before = names(tmp_path)
    assert put(tmp_path, record(test=90), "a")
    assert names(tmp_path) == before
    assert standing(tmp_path)["metrics"]["test"]["value"] == 0.9


def test_a_second_run_with_other_bytes_takes_their_place_and_leaves_nothing(tmp_path: Path):
    one = record(test=80)
    put(tmp_path, one, "a", ("steps", "weights"))
    assert put(tmp_path, record(test=90), "b", ("steps", "replay"))
    now = standing(tmp_path)
    assert content(tmp_path, now) == "replay of b" and content(tmp_path, now, "steps") == "steps of b"
    assert len(names(tmp_path)) == 3 and not any("weights" in name for name in names(tmp_path))
    assert put(tmp_path, record(test=70), "c")
    assert content(tmp_path, standing(tmp_path)) == "replay of c" and len(names(tmp_path)) == 3


CALLS = ("replace", "link", "rename", "unlink", "fsync", "open")


def die_at(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process, as SIGKILL would, before the n-th call that touches a disk."""
    left = [n]

    def counted(original: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            return original(*args, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(builtins, "open", counted(open))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("old", named(["none", "sealed", "schema 1", "broken", "interrupted"], ["sealed", "broken"]))
def test_killed_at_any_point_one_whole_record_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str):
    before: Any = record(test=80) if old != "interrupted" else record(status="interrupted", error="by the user")
    new = record(test=90)
    first = tmp_path / "first"
    if old != "none":
        put(first, before, "old")
    else:
        (first / "cells").mkdir(parents=True)
    place = store.files(first, new["id"])
    if old == "schema 1":
        bare = {k: v for k, v in before.items() if k != "files"} | {"schema": 1}
        place.record.write_text(store.dumps(bare))
    if old == "broken":
        place.record.write_text("{")
    outcomes = []
    for n in range(200):
        results = tmp_path / f"{n}"
        shutil.copytree(first, results)
        pid = os.fork()
        if not pid:
            written = swap.drafts(results, new["id"])
            write_sides(written, "new")
            die_at(n, monkeypatch)
            swap.put(results, new, written)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        records, problems = store.read(results)
        aside = [path.read_text() for path in (results / "cells").glob("*.aside")]
        if records:
            now = standing(results)
            is_new = now["status"] == "ok" and now["metrics"]["test"]["value"] == 0.9
            assert content(results, now) == ("replay of new" if is_new else "replay of old")
            outcomes.append("new" if is_new else "old")
        else:
            assert old in ("none", "broken")
            outcomes.append("old")
        if old == "broken":
            assert "{" in aside or problems, "what cannot be read is kept"
        # and the same command mends what is left
        again = record(test=90)
        assert put(results, again, "new") and content(results, standing(results)) == "replay of new"
        assert disk.sweep(results / "cells") or not list((results / "cells").glob(".*"))
        assert not list((results / "cells").glob(".*"))
        assert len([name for name in names(results) if not name.endswith(".aside")]) == 3
        if status == 0:
            break
        assert status == 9
    assert n >= 12 and outcomes[0] == "old" and outcomes[-1] == "new"
    assert outcomes == sorted(outcomes, reverse=True), "once new, it stays new"


@pytest.mark.parametrize("old", ["ok", "diverged", "oom", "error", "interrupted", "retry"])
@pytest.mark.parametrize("new", ["ok", "diverged", "oom", "error", "interrupted", "retry"])
def test_what_gives_way_to_what(tmp_path: Path, old: str, new: str):
    def made(status: str, mark: float) -> Any:
        one: Any = record() if status == "ok" else record(status="error" if status == "retry" else status, error="x")
        if status == "retry":
            one["retry"] = "No space left on device"
        one["time"]["total_s"] = mark
        return one

    put(tmp_path, made(old, 1.0), "old")
    gave_way = put(tmp_path, made(new, 2.0), "new")
    unsettled = {"interrupted", "retry"}
    if old in unsettled:
        expected = True
    elif old == "ok":
        expected = new in ("ok", "diverged")
    else:
        expected = new not in unsettled
    assert gave_way == expected
    assert standing(tmp_path)["time"]["total_s"] == (2.0 if expected else 1.0)
    assert content(tmp_path, standing(tmp_path)) == ("replay of new" if expected else "replay of old")
    assert len(names(tmp_path)) == 3


def test_the_traceback_of_a_run_that_was_not_kept_is(tmp_path: Path):
    one = record()
    put(tmp_path, one, "old")
    assert not put(tmp_path, record(status="error", error="boom"), "new", KINDS)
    assert store.files(tmp_path, one["id"]).error.read_text() == "error of new"
    assert standing(tmp_path)["status"] == "ok"
    assert put(tmp_path, record(test=90), "newer")
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("content_", ['{"schema": 99, "id": "x"}', None])
def test_a_record_that_may_be_good_is_never_replaced(tmp_path: Path, content_: str | None, monkeypatch: Any):
    one = record()
    put(tmp_path, one, "old")
    path = store.files(tmp_path, one["id"]).record
    if content_ is not None:
        path.write_text(content_)
    else:
        original = Path.read_bytes

        def refuse(self: Path) -> bytes:
            if self == path:
                raise PermissionError(13, "Permission denied")
            return original(self)

        monkeypatch.setattr(Path, "read_bytes", refuse)
    before = path.stat().st_mtime_ns
    with pytest.raises(ZobenchError, match=r"newer than this zobench|cannot be read"):
        put(tmp_path, record(test=90), "new")
    assert path.stat().st_mtime_ns == before and len(names(tmp_path)) == 3


def test_a_disk_that_is_full_leaves_the_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path, record(test=80), "old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space"):
                put(tmp_path, record(test=90), f"new by {name}")
        assert standing(tmp_path)["metrics"]["test"]["value"] == 0.8
        assert not list((tmp_path / "cells").glob(".*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_at_once_do_not_destroy_each_others_files(tmp_path: Path):
    put(tmp_path, record(test=50), "old")
    pids = []
    for k in range(4):
        pid = os.fork()
        if not pid:
            for i in range(15):
                put(tmp_path, record(test=60 + k), f"new {k} {i % 2}")
            os._exit(0)
        pids.append(pid)
    while pids:
        pids = [pid for pid in pids if os.waitpid(pid, os.WNOHANG)[0] == 0]
        (one,), problems = store.read(tmp_path)
        assert not problems and one["status"] == "ok"
    now = standing(tmp_path)
    assert len(names(tmp_path)) == 3
    k = round(100 * now["metrics"]["test"]["value"]) - 60
    assert content(tmp_path, now).startswith(f"replay of new {k} ")


def test_sweeping_takes_drafts_of_the_dead_and_the_old_alone(tmp_path: Path):
    cells = tmp_path / "cells"
    one = record()
    put(tmp_path, one, "a")
    live = swap.drafts(tmp_path, one["id"]).steps
    live.write_text("mine")
    pid = os.fork() if hasattr(os, "fork") else 0
    if hasattr(os, "fork"):
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
    dead = Path(str(live).replace(f"-{os.getpid()}b", f"-{pid or 2**22 + 1}b"))
    dead.write_text("dead")
    elsewhere = cells / ".0a1b2c3d4e5f.draft-ffffffff-1-0a1b2c3d.replay.bin"
    old = cells / ".0a1b2c3d4e5f.draft-ffffffff-2-0a1b2c3d.replay.bin"
    earlier = cells / ".x.json.0a1b2c3d.tmp"
    hidden = cells / ".gitkeep"
    for path in (elsewhere, old, earlier, hidden):
        path.write_text("")
    hour, now = 3600, time.time()
    ages = {old: 7 * 24 * hour + 60, elsewhere: 7 * 24 * hour - 60, earlier: hour + 60, hidden: 700 * hour}
    for path, age in ages.items():
        os.utime(path, (now - age, now - age))
    fresh = cells / ".y.json.0a1b2c3d.tmp"
    fresh.write_text("")
    os.utime(fresh, (now - hour + 60, now - hour + 60))
    gone = disk.sweep(cells)
    assert fresh.exists(), "somebody may be at it"
    assert gone == sorted(path.name for path in (dead, old, earlier))
    assert live.exists() and elsewhere.exists() and hidden.exists() and standing(tmp_path)


def test_side_files_are_on_the_disk_before_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}") if os.path.isdir("/proc/self/fd") else ""
        done.append(f"sync {Path(path).name.partition('.draft')[0]}{''.join(Path(path).suffixes[-2:])}")
        fsync(handle)

    def move(a: Any, b: Any) -> None:
        done.append(f"replace {Path(b).name}")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", move)
    one = record()
    put(tmp_path, one, "a")
    at = done.index(f"replace {one['id']}.json")
    assert [line for line in done[:at] if line.endswith((".jsonl", ".bin"))]
    assert sum("sync" in line for line in done[:at]) >= 4  # two side files, the folder with their names, the record


def test_names_as_long_as_may_be_leave_room_for_drafts(tmp_path: Path):
    longest = "0.5," * 60  # dots in a name too
    for path in (tmp_path / f"{longest[:200]}-s0-0123456789ab.steps.jsonl", tmp_path / f"{longest[:200]}.json.tmp"):
        assert len(disk.draft(path).name) < 100
        assert disk.draft(path).name.endswith(".".join(path.name.split(".")[-2:]))


def test_a_record_tells_its_files_by_name(tmp_path: Path):
    put(tmp_path, record(test=80), "a")
    put(tmp_path, record(test=90), "b")
    said = json.loads(store.files(tmp_path, record()["id"]).record.read_text())["files"]
    assert all((tmp_path / "cells" / info["name"]).is_file() for info in said.values())
    assert all(info["name"].split(".")[1] == info["sha256"][:12] for info in said.values())
