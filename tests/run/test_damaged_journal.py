"""What an earlier process left of a cell, cut short, changed, or not its own: the same numbers, and no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kits.run_kit import numbers, run
from kits.stopped import Kills

from zobench.run import journal

CELLS = {
    "losses": ("mezo", "layer:1", {}),
    "snapshots": ("agzo", "layer:1", {"engine": "deferred"}),
    "weights": ("adamw", "layer:2", {}),
}
STEPS = {"steps": 5, "eval_every": 2, "lrs": (1e-3, 1e-2)}
LATE = 8
"""Looks of the loop after which it was killed: in the second rate, whose first has ended."""


@pytest.fixture(scope="module")
def stopped(world, tmp_path_factory):
    """By cell the record of a run that was never stopped, and the folder of one that was killed in its second rate."""
    out = {}
    for name, (estimator, selector, settings) in CELLS.items():
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            kills = Kills(patch, folder / "whole", folder, every=LATE)
            (whole,) = run(world, folder / "whole", [estimator], [selector], **STEPS, **settings)
        out[name] = whole, kills.copies[0]
    return out


def goes_on(world, name, results):
    estimator, selector, settings = CELLS[name]
    (record,) = run(world, results, [estimator], [selector], **STEPS, **settings)
    return record


def frames(data: bytes) -> list[int]:
    """Where the frames of a journal end."""
    at, out = len(journal.MAGIC), []
    while at < len(data):
        said, size, _ = journal._HEAD.unpack_from(data, at)
        at += journal._HEAD.size + said + size
        out.append(at)
    return out


def the_journal(results: Path) -> Path:
    (path,) = results.glob("running/*.journal")
    return path


def shown(past: journal.Past) -> tuple:
    return past.size, past.head, past.resumed, past.replayed, past.runs


def test_a_last_frame_that_is_cut_anywhere_is_as_one_that_was_never_written(stopped):
    data = the_journal(stopped["losses"][1]).read_bytes()
    before, end = frames(data)[-2:]
    want = shown(journal.read(data[:before]))
    assert end == len(data) and shown(journal.read(data)) != want
    for cut in range(before, end):
        assert shown(journal.read(data[:cut])) == want


def test_of_a_journal_with_a_wrong_byte_the_frames_before_it_are_read(stopped):
    data = the_journal(stopped["losses"][1]).read_bytes()
    ends = [0, len(journal.MAGIC), *frames(data)]
    whole = {end: shown(journal.read(data[:end])) for end in ends}
    heads = [end + i for end in ends[1:-1] for i in range(journal._HEAD.size)]
    for at in sorted({*range(0, len(data), 29), *heads}):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        last = max(end for end in ends if end <= at)
        assert shown(journal.read(bytes(changed))) == whole[last], at


@pytest.mark.parametrize("where", ["head", "a run", "the last"])
def test_a_wrong_byte_costs_steps_and_no_number(world, tmp_path, stopped, where):
    whole, killed = stopped["losses"]
    results = shutil.copytree(killed, tmp_path / "r")
    path = the_journal(results)
    data = bytearray(path.read_bytes())
    ends = frames(bytes(data))
    data[{"head": ends[0] - 9, "a run": ends[len(ends) // 2] - 9, "the last": ends[-1] - 9}[where]] ^= 16
    path.write_bytes(data)
    record = goes_on(world, "losses", results)
    assert numbers(record) == numbers(whole) and ("resumed" in record) == (where != "head")
    assert not (results / "running").exists()


FOREIGN = [b"", b"notes of mine\n", b"\x00" * 999, b"ZOJOURN\x02" + b"\x07" * 99, "a frame of another version"]


@pytest.mark.parametrize("foreign", FOREIGN, ids=[str(one)[:12] for one in FOREIGN])
def test_what_is_no_journal_is_told_of_and_the_cell_begins_anew(world, tmp_path, stopped, foreign, capsys):
    whole, killed = stopped["losses"]
    results = shutil.copytree(killed, tmp_path / "r")
    path = the_journal(results)
    if isinstance(foreign, str):
        other = path.with_name("other.journal")
        journal.Journal.open(results, "other", {"machine": {}, "rerun": "missing", "free": 0})[0].write("from to")
        path.write_bytes(other.read_bytes())
        other.unlink()
    else:
        path.write_bytes(foreign)
    record = goes_on(world, "losses", results)
    assert numbers(record) == numbers(whole) and "resumed" not in record
    said = capsys.readouterr().err
    assert ("begins anew" in said) == bool(foreign)
    assert not (results / "running").exists()


@pytest.mark.parametrize("damage", ["cut", "a wrong byte", "gone"])
@pytest.mark.parametrize(
    ("name", "ending"), [("losses", ".cache"), ("snapshots", ".state"), ("weights", ".weights.safetensors")]
)
def test_a_file_beside_the_journal_that_is_not_what_was_written_is_not_used(
    world, tmp_path, stopped, name, ending, damage
):
    whole, killed = stopped[name]
    results = shutil.copytree(killed, tmp_path / "r")
    (path,) = [one for one in (results / "running").iterdir() if one.name.endswith(ending)]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data if damage == "a wrong byte" else data[: len(data) // 2])
    record = goes_on(world, name, results)
    assert numbers(record) == numbers(whole)
    assert not (results / "running").exists()
