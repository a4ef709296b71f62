"""Records that were changed after they were written, or whose parts disagree: named and left out, the others stay."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kits.processes import ended, started
from kits.records import record

from zobench.cli import main
from zobench.report import seal, sound, store
from zobench.report.identity import cell_id


def set_at(one: Any, path: str, value: object) -> None:
    *outer, last = path.split(".")
    for key in outer:
        one = one[int(key)] if isinstance(one, list) else one[key]
    one[last] = value


def unsealed(one: Any) -> dict[str, Any]:
    """As a record of schema 1: nothing but its parts speaks of a change."""
    old = dict(one) | {"schema": 1}
    del old["files"]
    return old


def put(results: Path, one: Any, text: str | None = None) -> Path:
    path = results / "cells" / f"{one['id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(store.dumps(one) if text is None else text, encoding="utf-8")
    return path


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change a record's file as an editor would: everything else stays, its checksum too."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(store.dumps(value), encoding="utf-8")


# ---- checksums


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("environment.processor", "Another 2"),
        ("metrics.test.stderr", 0.0),
        ("trials.0.dev_loss", 0.1),
        ("time.total_s", 0.5),
        ("forwards.train", 1),
        ("selection", {"layer": 3}),
        ("files", {"steps": {"name": "x.steps.jsonl", "bytes": 1, "sha256": "0"}}),
        ("later", 1),
    ],
)
def test_a_change_that_contradicts_nothing_is_seen_by_the_checksum(tmp_path: Path, path: str, value: object):
    at = store.write(tmp_path, record())
    edit(at, lambda one: set_at(one, path, value))
    records, (problem,) = store.read(tmp_path)
    assert not records and problem.kind == "edited"
    assert "it was changed after it was written: its SHA-256 differs" in str(problem)


def test_the_checksum_is_that_of_the_other_lines(tmp_path: Path):
    lines = store.write(tmp_path, record()).read_text().splitlines(keepends=True)
    (own,) = [line for line in lines if line.startswith(' "sha256"')]
    rest = "".join(line for line in lines if line != own)
    assert own == f' "sha256": "{hashlib.sha256(rest.encode()).hexdigest()}",\n'


@pytest.mark.parametrize("layout", ["indented", "one line", "windows"])
def test_another_layout_is_the_same_record(tmp_path: Path, layout: str):
    one = record()
    at = store.write(tmp_path, one)
    value = json.loads(at.read_text())
    if layout == "windows":
        at.write_bytes(at.read_bytes().replace(b"\n", b"\r\n"))
    else:
        at.write_text(json.dumps(value, indent=4 if layout == "indented" else None))
    assert store.read(tmp_path) == ([one], [])


@pytest.mark.parametrize("missing", ["sha256", "files"])
def test_a_record_of_this_schema_needs_them(tmp_path: Path, missing: str):
    at = store.write(tmp_path, record())
    edit(at, lambda one: one.pop(missing))
    records, (problem,) = store.read(tmp_path)
    assert not records and f"{missing} is missing" in str(problem)


def test_a_record_without_a_checksum_is_read_and_counted_on_the_board(tmp_path: Path, capsys: Any):
    store.write(tmp_path, record())
    put(tmp_path, unsealed(record("lozo")))
    assert main(["leaderboard", str(tmp_path), "--full"]) == 0
    assert (
        "2 records, 2 ok, 0 failed; schema 1, 2 (1 record of schema 1, without a checksum);" in capsys.readouterr().out
    )


# ---- what a checksum is not needed for


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("cell.model", "Llama-2-7b-hf", "its cell and protocol make"),
        ("cell.seed", 7, "its cell and protocol make"),
        ("protocol.steps", 7, "its cell and protocol make"),
        ("metrics.test.value", 0.9, "metrics.test.value: 0.9 is not the mean of its items, 0.8"),
        ("metrics.test.value", 5.0, "metrics.test.value: 5 is not between 0 and 1"),
        ("metrics.test.value", -0.1, "metrics.test.value: -0.1 is not between 0 and 1"),
        ("metrics.test.n", 99, "metrics.test: 100 items, and n is 99"),
        ("metrics.zero_shot.items", [2.0, 0.0], "metrics.zero_shot.items: not all are between 0 and 1"),
        ("metrics.test.items", [], "metrics.test: 0 items, and n is 100"),
        ("metrics.test.predicted", [0, 1], "metrics.test: predictions of 2 items, and n is 100"),
        ("metrics.test.clusters", [0, 1], "metrics.test: clusters of 2 items, and n is 100"),
        ("metrics.test.stderr", -1.0, "metrics.test.stderr is below 0"),
        ("chosen.lr", "0.001", "chosen.lr: str '0.001' is not float"),
        ("chosen.lr", 0.5, "chosen: no trial that is ok has lr 0.5 and its best step at 75"),
        ("chosen.step", 50, "chosen: no trial that is ok has lr 0.001 and its best step at 50"),
        ("speed.ratio", 0.0, "speed: ratio 0 of"),
        ("speed.ratio", -2.0, "speed: ratio -2 of"),
        ("speed.ratio", 9.0, "speed.ratio: 9 is not"),
        ("forwards.train", -1, "forwards.train: -1 is below 0"),
        ("memory.peak_bytes", -1, "memory.peak_bytes: -1 is below 0"),
        ("time.total_s", -1.0, "time.total_s: -1 is below 0"),
        ("trials.0.steps", -5, "trials[0].steps: -5 is below 0"),
        ("error", "boom", "error is not null though status is ok"),
        ("status", "oom", "error is null though status is oom"),
    ],
)
def test_parts_that_disagree_are_named_without_a_checksum_too(tmp_path: Path, path: str, value: object, why: str):
    one: Any = unsealed(record())
    name = one["id"]
    set_at(one, path, value)
    put(tmp_path, one | {"id": name})
    records, (problem,) = store.read(tmp_path)
    assert not records and why in str(problem)


@pytest.mark.parametrize("number", ["1e999", "-1e400", "1" + "0" * 400])
@pytest.mark.parametrize("at", ['"total_s": 1.0', '"Abacus 1"', '"steps": 100,'])
def test_a_number_that_is_none_is_a_problem(tmp_path: Path, number: str, at: str):
    one = unsealed(record())
    text = store.dumps(one)
    assert at in text
    key = at.partition(":")[0]
    new = f"{number}" if ":" not in at else f"{key}: {number}" + ("," if at.endswith(",") else "")
    put(tmp_path, one, text.replace(at, new))
    if number.startswith("1e") or number.startswith("-"):
        assert store.read(tmp_path)[0] == []
    store.read(tmp_path)  # whatever it is, it ends


def test_renamed_models_leave_no_row(tmp_path: Path, capsys: Any):
    good = record("lozo")
    store.write(tmp_path, good)
    paths = [store.write(tmp_path, record(seed=seed)) for seed in range(8)]
    assert main(["leaderboard", str(tmp_path)]) == 0
    for path in paths:
        edit(path, lambda one: set_at(one, "cell.model", "Llama-2-7b-hf"))
    capsys.readouterr()
    assert main(["leaderboard", str(tmp_path), "--check"]) == 2
    assert main(["leaderboard", str(tmp_path), "--full"]) == 2
    said = capsys.readouterr()
    assert "1 record, 1 ok" in said.out and "Llama-2-7b-hf," not in said.out
    assert all(f"cells/{path.name}" in said.err for path in paths)


# ---- files beside


@pytest.fixture
def with_side_files(tmp_path: Path) -> tuple[Path, Any]:
    from zobench.report import seal

    one: Any = record()
    for kind in ("steps", "replay", "weights"):
        side = getattr(store.files(tmp_path, one["id"]), kind)
        side.parent.mkdir(parents=True, exist_ok=True)
        side.write_bytes(kind.encode())
        one["files"][kind] = seal.file_info(side)
    store.write(tmp_path, one)
    assert main(["leaderboard", str(tmp_path)]) == 0
    return tmp_path, one


@pytest.mark.parametrize("kind", ["steps", "replay", "weights"])
@pytest.mark.parametrize("content", [b"", b"flip!!!"])
def test_a_changed_file_beside_is_named_and_the_score_stands(
    with_side_files: Any, kind: str, content: bytes, capsys: Any
):
    results, one = with_side_files
    side = getattr(store.files(results, one["id"]), kind)
    side.write_bytes(content[: len(side.read_bytes())])
    board = (results / "leaderboard.md").read_bytes()
    capsys.readouterr()
    assert main(["leaderboard", str(results), "--check"]) == 2
    (_, line) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"zobench: error: cells/{side.name}: ") and "--rerun always" in line
    assert (results / "leaderboard.md").read_bytes() == board
    out = str(results / "w.safetensors")
    assert main(["replay", str(results), one["id"], "--model", "nowhere", "--out", out]) == 2
    assert side.name in capsys.readouterr().err


def test_a_missing_file_beside_is_a_note(with_side_files: Any, capsys: Any):
    results, one = with_side_files
    store.files(results, one["id"]).weights.unlink()
    capsys.readouterr()
    assert main(["leaderboard", str(results), "--check"]) == 0
    assert f"note: cells/{one['id']}.weights.safetensors: missing beside their records" in capsys.readouterr().err


def test_a_removed_record_is_told_by_its_files(with_side_files: Any, capsys: Any):
    results, one = with_side_files
    store.write(results, record("lozo"))
    store.files(results, one["id"]).record.unlink()
    main(["leaderboard", str(results)])
    err = capsys.readouterr().err
    assert f"cells/{one['id']}.replay.bin" in err and err.count("there without a record") == 1
    assert len(store.unclaimed(results, *store.read(results))) == 3


def test_a_record_may_not_send_a_reader_elsewhere(with_side_files: Any, tmp_path: Path):
    results, one = with_side_files
    outside = results / "outside.bin"
    outside.write_bytes(b"replay")
    one["files"]["replay"] = dict(one["files"]["replay"]) | {"name": "../outside.bin"}
    store.write(results, one)
    ((problem,), _) = store.beside(results, store.read(results)[0])
    assert "not in the folder of its record" in str(problem)


# ---- what lies in the folder and is no record


def test_one_bad_input_never_costs_the_board(tmp_path: Path, capsys: Any):
    store.write(tmp_path, record())
    cells = tmp_path / "cells"
    (cells / "deep.json").write_text("[" * 100_000)
    (cells / "deeper.json").write_text('{"schema": 2, "x": ' + '{"a":' * 50_000)
    (cells / "latin.json").write_bytes('{"schema": 2, "é": 1}'.encode("latin-1"))
    (cells / "utf16.json").write_bytes('{"schema": 2}'.encode("utf-16"))
    (cells / "folder.json").mkdir()
    os.symlink(cells / "nowhere", cells / "dangling.json")
    with (cells / "large.json").open("wb") as f:
        f.truncate(1 << 31)
    names = ["deep", "deeper", "latin", "utf16", "folder", "dangling", "large"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(cells / "pipe.json")
        names.append("pipe")
    process = started(["leaderboard", str(tmp_path), "--full"])
    out, err = ended(process)
    assert process.returncode == 2 and "1 record, 1 ok" in out
    assert len(err.splitlines()) == len(names)
    assert all(f"cells/{name}.json: " in err for name in names)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_folder_that_cannot_be_written_to_still_shows_its_board(tmp_path: Path, monkeypatch: Any, capsys: Any):
    store.write(tmp_path, record())

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store, "write_text", refuse)
    assert main(["leaderboard", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("mezo / all · tiny · sst2 · 1 seed\n") and "Read-only file system" in said.err
    assert main(["leaderboard", str(tmp_path), "--out", str(tmp_path / "b.md")]) == 2


def test_an_id_is_a_hash_of_cell_and_protocol():
    one: Any = record()
    assert one["id"] == cell_id(one["cell"], one["protocol"])
    assert cell_id(one["cell"] | {"seed": 1}, one["protocol"]) != one["id"]
    assert cell_id(one["cell"], one["protocol"] | {"steps": 1}) != one["id"]


def test_a_record_under_another_name_is_told_of(tmp_path: Path):
    at = store.write(tmp_path, record())
    at.rename(at.with_name("another.json"))
    records, (problem,) = store.read(tmp_path)
    assert not records and "not the file's name" in problem.why


def test_weights_are_judged_by_their_size_at_least(tmp_path: Path):
    path = tmp_path / "x.weights.safetensors"
    path.write_bytes(b"1234")
    said = seal.file_info(path)
    path.write_bytes(b"1235")
    assert seal.file_fault(tmp_path, said, hashed=False) is None
    path.write_bytes(b"123")
    assert seal.file_fault(tmp_path, said, hashed=False) == "3 bytes, and its record says 4"


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, None),
        ({"value": 1.0, "items": [1.0, 1.0]}, None),
        ({"value": 0.0, "items": [0.0, 0.0]}, None),
        ({"value": 1.01}, "test.value: 1.01 is not between 0 and 1"),
        ({"value": -0.01}, "test.value: -0.01 is not between 0 and 1"),
        ({"stderr": -0.1}, "test.stderr is below 0"),
        ({"stderr": 0.0}, None),
        ({"n": 0, "items": None}, "test.n: 0 is no number of items"),
        ({"n": 3}, "test: 2 items, and n is 3"),
        ({"n": 1}, "test: 2 items, and n is 1"),
        ({"predicted": [1]}, "test: predictions of 1 items, and n is 2"),
        ({"clusters": [1, 1, 2]}, "test: clusters of 3 items, and n is 2"),
    ],
)
def test_a_score_that_cannot_be_is_named(changed, fault):
    score = {"metric": "accuracy", "value": 0.5, "n": 2, "stderr": 0.1, "items": [0.0, 1.0], **changed}
    found = list(sound._score("test", score))
    assert found == [] if fault is None else fault in found
