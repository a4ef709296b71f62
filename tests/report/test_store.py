"""Records on disk: whole or not at all, one bad file spoils no other, every problem is one clear line."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from kits.records import record, trial

from zobench.errors import ZobenchError
from zobench.report import store


def put(results: Path, name: str, content: str | bytes) -> Path:
    path = results / "cells" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only_problem(results: Path) -> str:
    records, problems = store.read(results)
    assert not records
    (problem,) = problems
    assert "\n" not in str(problem)
    return str(problem)


def test_what_is_written_is_read_back(tmp_path: Path):
    made = [record(seed=s) for s in (1, 0)]
    for one in made:
        assert store.write(tmp_path, one) == tmp_path / "cells" / f"{one['id']}.json"
    records, problems = store.read(tmp_path)
    assert not problems
    assert records == sorted(made, key=lambda r: r["id"])
    assert store.find(tmp_path, made[0]["id"]) == made[0]
    assert store.find(tmp_path, "no-such-cell") is None


def test_equal_records_are_equal_files_with_sorted_keys(tmp_path: Path):
    one = record()
    other = dict(reversed(list(one.items())))
    store.write(tmp_path / "a", one)
    store.write(tmp_path / "b", other)  # type: ignore[arg-type]
    a, b = ((tmp_path / x / "cells" / f"{one['id']}.json").read_bytes() for x in "ab")
    assert a == b
    keys = list(json.loads(a))
    assert keys == sorted(keys)
    assert len(a.splitlines()) < 150, "a list of scores takes one line, so that a difference can be read"


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, 1e22, 2 / 3, 5e-324, -0.0, 123456789.123456789])
def test_numbers_survive_exactly(value: float):
    assert math.copysign(1, json.loads(store.dumps([value]))[0]) == math.copysign(1, value)
    assert json.loads(store.dumps([value])) == [value]


def test_numbers_that_are_not_finite_become_null_where_a_status_says_so(tmp_path: Path):
    one: Any = record(status="diverged", error="lr 1: the loss is nan")
    one["trials"] = [trial(1.0, "diverged") | {"dev_loss": math.inf}]
    one["time"]["step_s"] = math.nan
    text = store.write(tmp_path, one).read_text()
    assert "NaN" not in text and "Infinity" not in text
    ((back,), problems) = store.read(tmp_path)
    assert not problems
    assert back["trials"][0]["dev_loss"] is None and back["time"]["step_s"] is None


def test_an_ok_record_with_a_score_that_is_no_number_is_refused(tmp_path: Path):
    one: Any = record()
    one["metrics"]["test"]["value"] = math.nan
    with pytest.raises(ValueError, match=r"metrics\.test\.value"):
        store.write(tmp_path, one)
    assert not list(tmp_path.rglob("*.json*"))


def test_side_files_lie_beside_the_record(tmp_path: Path):
    one = record(status="error", error="boom")
    where = store.files(tmp_path, one["id"])
    assert store.write(tmp_path, one) == where.record
    endings = {"record": "json", "steps": "steps.jsonl", "replay": "replay.bin"}
    endings |= {"weights": "weights.safetensors", "error": "error.txt"}
    assert vars(where) == {name: tmp_path / "cells" / f"{one['id']}.{end}" for name, end in endings.items()}
    for side in where.beside:
        side.write_bytes(b"{")
    assert store.read(tmp_path) == ([one], [])


def test_a_crash_while_writing_leaves_the_old_record_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old, new = record(test=60), record(test=90)
    assert old["id"] == new["id"]
    store.write(tmp_path, old)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path, new)
    monkeypatch.undo()
    assert store.read(tmp_path) == ([old], [])
    assert [p.name for p in (tmp_path / "cells").iterdir()] == [f"{old['id']}.json"]


def test_temporary_files_of_a_killed_writer_are_not_read(tmp_path: Path):
    store.write(tmp_path, record())
    put(tmp_path, ".x.json.0a1b2c3d.tmp", "{")
    assert len(store.read(tmp_path)[0]) == 1 and not store.read(tmp_path)[1]


def test_a_bad_record_spoils_no_other(tmp_path: Path):
    good = record()
    store.write(tmp_path, good)
    put(tmp_path, "a.json", '{"schema": 1, "id": "a"')
    put(tmp_path, "b.json", "")
    records, problems = store.read(tmp_path)
    assert records == [good]
    assert [p.file for p in problems] == ["cells/a.json", "cells/b.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"schema": 1, ', "not JSON, or only a part of it"),
        ("", "an empty file"),
        (b"\xff\xfe", "not text in UTF-8"),
        ("[1]", "not a record"),
        ('{"a": 1}', "not a record"),
        ('{"schema": "one"}', "schema 'one' is not a version"),
        ('{"schema": true}', "schema True is not a version"),
        ('{"schema": 3}', "schema 3 is newer than this zobench reads (2); upgrade zobench"),
        ('{"schema": 99}', "schema 99 is newer than this zobench reads (2); upgrade zobench"),
        ('{"schema": 1, "x": NaN}', "NaN is no JSON"),
        ('{"schema": 1}', "id is missing; status is missing; protocol is missing and"),
    ],
)
def test_problems_say_the_file_why_and_the_mend(tmp_path: Path, content: str | bytes, why: str):
    put(tmp_path, "x.json", content)
    line = only_problem(tmp_path)
    assert line.startswith("cells/x.json: ")
    assert why in line
    assert any(mend in line for mend in ("run its cell again", "upgrade zobench", "move it out"))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("status", "fine", "status: 'fine' is none of ok, diverged, oom, error, interrupted"),
        ("cell.seed", "0", "cell.seed: str '0' is not int"),
        ("cell.seed", True, "cell.seed: bool True is not int"),
        ("cell.lrs", 0.1, "cell.lrs: float 0.1 is not a list"),
        ("metrics.test.n", None, "metrics.test.n: null is not int"),
        ("metrics.test.value", None, "metrics.test.value: null is not float"),
        ("metrics.test.items", [1.0, "x"], "metrics.test.items[1]: str 'x' is not float"),
        ("scope", 3, "scope: int 3 is not ScopeInfo or null"),
        ("trials", [{"lr": 1.0}], "trials[0].status is missing"),
        ("data", {"notes": "none"}, "data.notes: str 'none' is not an object"),
        ("data", {"source": {"nature": 1}}, "data.source.nature: int 1 is not str"),
        ("error", 5, "error: int 5 is not str or null"),
        ("memory", {"peak_bytes": 1.5}, "memory.peak_bytes: float 1.5 is not int"),
        ("id", "other", "its id is 'other', not the file's name"),
    ],
)
def test_a_wrong_shape_is_named(tmp_path: Path, path: str, value: object, why: str):
    one: Any = record()
    inner: Any = one
    *outer, last = path.split(".")
    for key in outer:
        inner = inner[key]
    stem = one["id"]
    inner[last] = value
    put(tmp_path, f"{stem}.json", store.dumps(one))
    assert why in only_problem(tmp_path)


@pytest.mark.parametrize("missing", ["test", "zero_shot"])
def test_an_ok_record_needs_its_scores(tmp_path: Path, missing: str):
    one: Any = record()
    del one["metrics"][missing]
    put(tmp_path, f"{one['id']}.json", store.dumps(one))
    assert f"metrics.{missing} is missing though status is ok" in only_problem(tmp_path)


def test_keys_that_are_not_known_are_let_be(tmp_path: Path):
    one: Any = record() | {"later": {"key": 1}}
    store.write(tmp_path, one)
    assert store.read(tmp_path) == ([one], [])


def test_an_unreadable_file_is_found_as_a_problem(tmp_path: Path):
    put(tmp_path, "x.json", "{")
    assert isinstance(store.find(tmp_path, "x"), store.RecordProblem)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "no results folder .*nowhere: check the path"),
        ("file", "is a file: give the results folder"),
        ("empty", "no cells/ in .*empty, so it is no results folder"),
        ("full/cells", "did you mean .*full"),
    ],
)
def test_what_is_no_results_folder_is_said(tmp_path: Path, path: str, says: str):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full" / "cells").mkdir(parents=True)
    with pytest.raises(ZobenchError, match=says):
        store.read(tmp_path / path)


def test_a_folder_without_a_finished_cell_has_no_records(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    assert store.read(tmp_path) == ([], [])


def test_what_a_later_zobench_may_have_added_is_let_be():
    made: dict = record()
    made["metrics"]["later"] = "a text"
    made["later"] = [1]
    assert store.check(made) == []


def test_half_letters_in_a_record_are_a_problem_or_text_and_no_bug(tmp_path):
    """JSON may have them as escapes, UTF-8 has none."""
    path = store.write(tmp_path, record(error=None))
    path.write_text(path.read_text().replace('"task": "sst2"', '"task": "sst2\\ud800"'))
    records, problems = store.read(tmp_path)
    assert not records and len(problems) == 1 and str(problems[0]).isascii()
    store.write_text(tmp_path / "board.md", "a\ud800b")
    assert (tmp_path / "board.md").read_text() == "a\\ud800b"
