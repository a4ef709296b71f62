"""A pack is read like the folder of cells, by every command; it is bounded, and nothing is lost by packing."""

from __future__ import annotations

import json
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kits.matrix import covering
from kits.processes import ended, started
from kits.records import record, small_board

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import packed, packing, seal, store, swap
from zobench.report.record import Record

SIDES = ("steps", "replay", "weights", "error")


def cells(results: Path) -> list[str]:
    return sorted(path.name for path in (results / "cells").glob("*"))


def repack(results: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Write the pack with other lines."""
    path = results / packed.RECORDS
    lines = lzma.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(lzma.compress(b"".join(change(lines))))


def schema_one(results: Path, **of: Any) -> Any:
    old: Any = dict(record(**of)) | {"schema": 1}
    del old["files"]
    path = results / "cells" / f"{old['id']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(old, indent=3))
    return old


@pytest.fixture
def results(written: Path, tmp_path: Path) -> Path:
    """A board's records, one with all side files, one of the first schema in another layout."""
    return shutil.copytree(written, tmp_path / "runs")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each test gets a copy of."""
    folder = tmp_path_factory.mktemp("written") / "runs"
    for one in small_board():
        store.write(folder, one)
    full: Any = record("fzoo", task="rte", error=None)
    for kind in SIDES:
        side = getattr(store.files(folder, full["id"]), kind)
        side.write_bytes(b"\x00\xff" + kind.encode() if kind == "replay" else f"é {kind}\r\n\t\u2028{{".encode())
        full["files"][kind] = seal.file_info(side)
    store.write(folder, full)
    schema_one(folder, estimator="lozo_m", task="wic")
    return folder


@pytest.fixture
def board(results: Path) -> Path:
    """The same, with its board."""
    assert main(["leaderboard", str(results)]) == 0
    return results


def full_id(results: Path) -> str:
    return next(r["id"] for r in store.read(results)[0] if r["cell"]["task"] == "rte")


# ---- read alike


def test_what_is_packed_is_read_as_it_was_by_every_command(results: Path, board: Path, capsys: Any):
    before, files = store.read(results), {p.name: p.read_bytes() for p in (results / "cells").iterdir()}
    commands = (
        ["leaderboard", str(results), "--check"],
        ["compare", "mezo/layer", "mezo/all", "--results", str(results)],
        ["analyze", "methods", str(results), "--against", "mezo"],
    )

    def said() -> list[Any]:
        capsys.readouterr()
        return [(main(list(command)), capsys.readouterr()) for command in commands]

    whole = said()
    assert [status for status, _ in whole] == [0, 0, 0]
    assert main(["pack", str(results), "--with", "steps,replay,error"]) == 0
    assert {p.name: p.read_bytes() for p in (results / "cells").iterdir()} == files, "without --remove nothing goes"
    assert store.read(results) == before and store.survey(results).twice == [] and said() == whole
    assert main(["pack", str(results), "--remove"]) == 0
    assert cells(results) == [f"{full_id(results)}.weights.safetensors"]
    assert store.read(results) == before and said() == whole
    for one in before[0]:
        assert store.find(results, one["id"]) == one
    assert store.find(results, "no-such-cell") is None
    (results / "cells" / f"{full_id(results)}.weights.safetensors").unlink()
    (results / "cells").rmdir()  # as in a checkout: git keeps no empty folder
    assert store.read(results) == before
    assert main(["leaderboard", str(results), "--check"]) == 0
    assert f"{full_id(results)}.weights.safetensors: missing beside" in capsys.readouterr().err


def test_side_files_that_are_not_packed_stay_and_missing_ones_are_a_note(results: Path, board: Path, capsys: Any):
    name = full_id(results)
    assert main(["pack", str(results), "--remove"]) == 0
    assert cells(results) == sorted(p.name for p in store.files(results, name).beside)
    assert not (results / packed.SIDES).exists()
    store.files(results, name).steps.unlink()
    capsys.readouterr()
    assert main(["leaderboard", str(results), "--check"]) == 0
    assert f"note: cells/{name}.steps.jsonl: missing beside" in capsys.readouterr().err


def test_side_files_stay_in_the_pack_when_only_records_are_added(results: Path):
    first = packing.pack(results, kinds=["steps", "replay"], remove=True)
    assert first.sides == 2
    before = (results / packed.SIDES).read_bytes()
    store.write(results, record("mezo", "all", task="copa", seed=9))
    again = packing.pack(results, remove=True)
    assert again.sides == 2 and (results / packed.SIDES).read_bytes() == before and packed.SIDES in again.sizes


def test_undo_gives_every_file_back_byte_for_byte(results: Path):
    old = next(p for p in (results / "cells").iterdir() if p.name.startswith("wic"))
    old.write_bytes(store.dumps(json.loads(old.read_text())).encode())
    files = {p.name: p.read_bytes() for p in (results / "cells").iterdir()}
    assert main(["pack", str(results), "--with", "steps,replay,error", "--remove"]) == 0
    assert main(["pack", str(results), "--undo", "--remove"]) == 0
    assert {p.name: p.read_bytes() for p in (results / "cells").iterdir()} == files
    assert not list(results.glob("*.xz"))
    with pytest.raises(ZobenchError, match=r"no records\.jsonl\.xz in"):
        packing.unpack(results)


def test_equal_records_are_equal_packs(results: Path, tmp_path: Path):
    packing.pack(results, kinds=["steps", "replay"])
    made = [(results / name).read_bytes() for name in (packed.RECORDS, packed.SIDES)]
    other = tmp_path / "other"
    for path in sorted((results / "cells").iterdir(), reverse=True):  # in another order, in two steps, another layout
        (other / "cells").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / "cells")
        if path.suffix == ".json" and not path.name.startswith("wic"):
            value = json.loads(path.read_text())
            (other / "cells" / path.name).write_text(json.dumps(value, indent=4))
            if path.name.startswith("copa"):
                packing.pack(other, remove=True)
    packing.pack(other, kinds=["steps", "replay"], remove=True)
    assert [(other / name).read_bytes() for name in (packed.RECORDS, packed.SIDES)] == made
    lines = lzma.decompress(made[0]).splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert ids == sorted(ids) and len(set(ids)) == len(lines) == 34


def test_checksums_hold_inside(results: Path, capsys: Any):
    packing.pack(results, remove=True)
    repack(results, lambda lines: [line.replace(b'"Abacus 1"', b'"Abacus 2"') for line in lines])
    records, problems = store.read(results)
    assert [r["schema"] for r in records] == [1] and len(problems) == 33
    assert all("its SHA-256 differs" in str(p) and str(p).startswith("records.jsonl.xz line ") for p in problems)
    capsys.readouterr()
    assert main(["leaderboard", str(results), "--check"]) == 2
    with pytest.raises(ZobenchError, match="SHA-256 differs"):
        packing.pack(results)


@pytest.mark.parametrize("change", ["text", "sha"])
def test_a_changed_side_file_in_the_pack_is_named(results: Path, change: str, capsys: Any):
    packing.pack(results, kinds=["steps", "replay"], remove=True)
    path, name = results / packed.SIDES, full_id(results)
    path.write_bytes(
        lzma.compress(
            lzma.decompress(path.read_bytes()).replace(b"steps\\r", b"stepS\\r" if change == "sha" else b"\\r")
        )
    )
    capsys.readouterr()
    assert main(["leaderboard", str(results)]) == 2
    assert f"error: files.jsonl.xz: {name}.steps.jsonl: " in capsys.readouterr().err
    out = str(results / "w.safetensors")
    assert main(["replay", str(results), name, "--model", "nowhere", "--out", out]) == 2
    assert f"{name}.steps.jsonl" in capsys.readouterr().err


def test_a_side_file_is_read_from_where_it_lies(results: Path):
    path = store.files(results, full_id(results)).replay
    packing.pack(results, kinds=["replay"])
    assert store.side(results, path) == b"\x00\xffreplay"
    packing.pack(results, kinds=["replay"], remove=True)
    assert not path.exists() and store.side(results, path) == b"\x00\xffreplay"
    assert store.side(results, path.with_name("none.replay.bin")) is None


# ---- cells/ and the pack together


def better(results: Path) -> Any:
    """The pack has a cell, and cells/ a later record of it."""
    packing.pack(results, remove=True)
    old = next(r for r in store.read(results)[0] if r["cell"]["estimator"] == "mezo")
    new: Any = json.loads(json.dumps(old))
    new["time"]["total_s"] = 9.0
    return new


def test_cells_go_before_the_pack_and_a_disagreement_is_named(results: Path, capsys: Any):
    new = better(results)
    store.write(results, new)
    found = store.survey(results)
    assert found.twice == [new["id"]] and not found.problems and len(found.records) == 34
    assert store.find(results, new["id"]) == new and new in found.records
    for command in (["leaderboard", str(results)], ["compare", "mezo/layer", "mezo/all", "--results", str(results)]):
        capsys.readouterr()
        assert main(command) == 0
        assert f"note: {new['id']}: the pack has another finished record" in capsys.readouterr().err
    before = (results / packed.RECORDS).read_bytes()
    capsys.readouterr()
    assert main(["pack", str(results), "--remove"]) == 2
    assert new["id"] in (err := capsys.readouterr().err) and "--replace" in err
    assert (results / packed.RECORDS).read_bytes() == before and f"{new['id']}.json" in cells(results)
    with pytest.raises(ZobenchError, match="not what the pack holds; the pack stays"):
        packing.unpack(results, remove=True)
    assert main(["pack", str(results), "--remove", "--replace"]) == 0
    assert store.find(results, new["id"]) == new and store.survey(results).twice == []


def test_new_records_are_read_beside_the_pack_and_packed_later(results: Path, capsys: Any):
    packing.pack(results, remove=True)
    fresh = [record("mezo", "all", task="copa", seed=seed) for seed in (3, 4)]
    for one in fresh:
        store.write(results, one)
    records, problems = store.read(results)
    assert len(records) == 36 and not problems and all(one in records for one in fresh)
    ids = [r["id"] for r in records]
    assert ids == sorted(ids)
    main(["leaderboard", str(results)])
    board = (results / "leaderboard.md").read_bytes()
    packing.pack(results, remove=True)
    assert store.read(results) == (records, [])
    main(["leaderboard", str(results)])
    assert (results / "leaderboard.md").read_bytes() == board


def test_a_file_that_is_no_record_hides_the_packed_one_and_is_never_packed(results: Path, capsys: Any):
    name = better(results)["id"]
    bad = results / "cells" / f"{name}.json"
    bad.write_text("{")
    records, (problem,) = store.read(results)
    assert len(records) == 33 and problem.file == f"cells/{name}.json" and problem.cell == name
    assert isinstance(store.find(results, name), store.RecordProblem)
    assert main(["pack", str(results), "--remove"]) == 2
    assert f"error: cells/{name}.json: not JSON" in capsys.readouterr().err and bad.read_text() == "{"
    bad.unlink()
    assert len(store.read(results)[0]) == 34


@pytest.mark.parametrize("lying", [None, "{"])
@pytest.mark.parametrize("status", ["ok", "error"])
def test_a_packed_record_gives_way_as_one_in_cells_does(results: Path, status: str, lying: str | None):
    """A failure never hides the good record of the pack."""
    new = better(results)
    good = packed.find(results, new["id"])
    if lying is not None:
        (results / "cells" / f"{new['id']}.json").write_text(lying)
    if status == "error":
        new |= {"status": "error", "error": "boom"}
    put = swap.put(results, new, swap.drafts(results, new["id"]))
    assert put == (status == "ok")
    assert store.find(results, new["id"]) == (new if put else good)


def test_an_unfinished_packed_record_gives_way_without_a_word(tmp_path: Path):
    store.write(tmp_path, record(status="interrupted", error="interrupted"))
    packing.pack(tmp_path, remove=True)
    store.write(tmp_path, record())
    assert store.survey(tmp_path).twice == []
    packing.pack(tmp_path, remove=True)
    assert store.read(tmp_path)[0] == [record()]


def test_a_file_that_changed_since_it_was_packed_is_not_removed(results: Path, monkeypatch: Any):
    name = full_id(results)
    real = packing._write

    def meanwhile(path: Path, lines: list[bytes]) -> int:
        new: Any = store.find(results, name)
        new["time"]["total_s"] = 7.0
        store.write(results, new)
        return real(path, lines)

    monkeypatch.setattr(packing, "_write", meanwhile)
    done = packing.pack(results, remove=True)
    assert done.left == [f"{name}.json"] and f"{name}.json" in cells(results)
    assert store.survey(results).twice == [name]


def test_nothing_is_removed_where_what_is_read_back_is_not_what_was_written(results: Path, monkeypatch: Any):
    before = cells(results)
    monkeypatch.setattr(packing, "_write", lambda path, lines: path.write_bytes(lzma.compress(b"\n".join(lines[1:]))))
    with pytest.raises(ZobenchError, match="nothing was removed"):
        packing.pack(results, kinds=["steps"], remove=True)
    assert cells(results) == before


def test_a_changed_side_file_is_named_and_stays(results: Path, capsys: Any):
    side = store.files(results, full_id(results)).steps
    side.write_bytes(b"other")
    assert main(["pack", str(results), "--with", "steps,replay", "--remove"]) == 2
    assert f"error: cells/{side.name}: 5 bytes" in capsys.readouterr().err and side.read_bytes() == b"other"


# ---- bad packs


def xz(data: bytes, **how: Any) -> bytes:
    return lzma.compress(data, **how)


def bomb() -> bytes:
    """Some 20 KB that stand for 136 MB without an end of a line."""
    return xz(b"x" * (17 << 20), preset=0) * 8


BAD = {
    "empty": (b"", "an empty file"),
    "none": (b"no records, as anyone can see", "no xz file, or a damaged one"),
    "gzip": (bytes.fromhex("1f8b0800000000000003030000000000"), "no xz file, or a damaged one"),
    "bomb": (bomb(), "line 1: over 134217728 bytes are too many for a record"),
    "much memory": (
        xz(
            b"{}\n",
            filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}],
        ),
        "no xz file, or a damaged one (Memory usage limit exceeded)",
    ),
    "no JSON": (xz(b"{\n"), "line 1: not JSON"),
    "deep": (xz(b"[" * 100_000 + b"\n"), "line 1: not a record: its JSON is nested too deep"),
    "blank": (xz(b"\n"), "line 1: an empty file"),
    "latin": (xz('{"id": "é"}\n'.encode("latin-1")), "line 1: not text in UTF-8"),
    "no record": (xz(b'{"a": 1}\n'), "line 1: not a record"),
    "newer": (
        xz(b'{"schema": 99, "id": "x"}\n'),
        "line 1: schema 99 is newer than this zobench reads (2); upgrade zobench",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pack_is_one_line_and_the_folder_is_read(tmp_path: Path, name: str):
    good = record()
    store.write(tmp_path, good)
    data, says = BAD[name]
    (tmp_path / packed.RECORDS).write_bytes(data)
    records, (problem,) = store.read(tmp_path)
    assert records == [good] and says in str(problem) and str(problem).startswith("records.jsonl.xz")
    assert "\n" not in str(problem) and len(str(problem)) < 250
    with pytest.raises(ZobenchError, match=r"records\.jsonl\.xz"):
        packing.pack(tmp_path, remove=True)
    assert cells(tmp_path) == [f"{good['id']}.json"] and (tmp_path / packed.RECORDS).read_bytes() == data


def test_a_pack_may_have_a_million_records_and_a_gib():
    assert (packed.MOST_LINES, packed.MOST_BYTES, packed.LARGEST) == (2**20, 2**30, 2**27)


@pytest.mark.parametrize("bound", ["MOST_BYTES", "MOST_LINES", "LARGEST"])
def test_bounds_end_a_reading(results: Path, monkeypatch: Any, bound: str):
    packing.pack(results, remove=True)
    monkeypatch.setattr(packed, bound, 20 if bound == "MOST_LINES" else 3000)
    records, problems = store.read(results)
    assert len(problems) >= 1 and "too many" in str(problems[-1])
    assert len(records) == (20 if bound == "MOST_LINES" else 0 if bound == "MOST_BYTES" else len(records))


def test_many_bad_lines_are_some_lines(tmp_path: Path):
    store.write(tmp_path, record())
    packing.pack(tmp_path, remove=True)
    repack(tmp_path, lambda lines: [b"{\n"] * 5000 + lines)
    records, problems = store.read(tmp_path)
    assert len(records) == 1 and len(problems) == packed.NAMED + 1
    assert str(problems[-1]).startswith("records.jsonl.xz: 4900 further lines are no records")


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_of_a_pack_that_is_cut_short_the_lines_before_are_read(tmp_path: Path, cut: int):
    for seed in range(40):
        store.write(tmp_path, record(seed=seed))
    packing.pack(tmp_path, remove=True)
    path = tmp_path / packed.RECORDS
    path.write_bytes(path.read_bytes()[:-cut])
    records, (problem,) = store.read(tmp_path)
    assert "cut short: its end is missing" in str(problem)
    assert 0 < len(records) <= 40 and (cut > 1 or len(records) == 40)
    assert isinstance(packed.find(tmp_path, "not-there"), store.RecordProblem), "it may have had it"


def test_a_byte_that_changed_on_the_way_is_named(results: Path):
    packing.pack(results, remove=True)
    path = results / packed.RECORDS
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    records, problems = store.read(results)
    assert problems and "damaged" in str(problems[-1])
    assert all(one in small_board() or one["cell"]["task"] in ("rte", "wic") for one in records)


def test_wrong_lines_and_duplicates_cost_no_other(results: Path):
    packing.pack(results, remove=True)
    repack(results, lambda lines: [lines[0], b"[1]\n", *lines, lines[3].replace(b'"Abacus 1"', b'"Abacus 2"')])
    records, problems = store.read(results)
    assert len(records) == 34
    said = sorted(map(str, problems))
    assert len(said) == 3 and "line 2: not a record" in said[0]
    assert "line 3: " in said[2] and "is in line 1 too; that one counts" in said[2]
    assert "line 37: " in said[1] and "is in line 6 too, and otherwise; that one counts" in said[1]


def test_streams_put_together_are_one_pack(tmp_path: Path):
    made: list[Record] = [record(seed=seed) for seed in range(2)]
    parts = []
    for i, one in enumerate(made):
        store.write(tmp_path / str(i), one)
        packing.pack(tmp_path / str(i))
        parts.append((tmp_path / str(i) / packed.RECORDS).read_bytes())
    (tmp_path / packed.RECORDS).write_bytes(parts[0] + b"\0" * 8 + parts[1])
    assert store.read(tmp_path) == (sorted(made, key=lambda r: r["id"]), [])
    (tmp_path / packed.RECORDS).write_bytes(parts[0] + b"more")
    assert store.read(tmp_path)[0] == [made[0]] and len(store.read(tmp_path)[1]) == 1


@pytest.mark.parametrize(("what", "name"), covering(["folder", "pipe", "dangling"], [packed.RECORDS, packed.SIDES]))
def test_what_is_no_file_is_named_and_makes_nobody_wait(results: Path, name: str, what: str, tmp_path: Path):
    if what == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("needs pipes")
    store.files(results, full_id(results)).steps.unlink()
    made: dict[str, Callable[[], object]] = {
        "folder": (results / name).mkdir,
        "pipe": lambda: os.mkfifo(results / name),
        "dangling": lambda: (results / name).symlink_to(tmp_path / "nowhere"),
    }
    made[what]()
    process = started(["leaderboard", str(results)])
    _, err = ended(process)
    assert process.returncode == 2 and f"error: {name}: " in err


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"name": "x"}',
        b'{"name": 1, "text": ""}',
        b'{"name": "x", "base64": "?"}',
        b'{"name": "x", "text": 1}',
    ],
)
def test_a_line_that_holds_no_side_file_is_a_problem(results: Path, line: bytes):
    packing.pack(results, kinds=["steps", "replay"], remove=True)
    path = results / packed.SIDES
    path.write_bytes(lzma.compress(line + b"\n" + lzma.decompress(path.read_bytes())))
    (problem,), missing = store.beside(results, store.read(results)[0])
    assert "files.jsonl.xz line 1: holds no file" in str(problem) and not missing


def test_a_pack_may_not_write_elsewhere(tmp_path: Path):
    old = schema_one(tmp_path / "r")
    text = store.dumps(old | {"id": "../../" + old["id"]})
    (tmp_path / "r" / packed.RECORDS).write_bytes(lzma.compress(packed.to_line(text.encode()) + b"\n"))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(ZobenchError):
        packing.unpack(tmp_path / "r")
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no results folder"),
        (["--with", "weights"], "weights do not become smaller"),
        (["--with", "curves"], "curves"),
        (["--undo", "--replace"], "--undo takes all"),
        (["--undo"], "no records.jsonl.xz in"),
    ],
)
def test_what_cannot_be_done_is_said(results: Path, arguments: list[str], says: str, capsys: Any):
    folder = [] if arguments == ["nowhere"] else [str(results)]
    assert main(["pack", *folder, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_an_empty_folder_has_nothing_to_pack(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    with pytest.raises(ZobenchError, match="no record in"):
        packing.pack(tmp_path)
    assert not (tmp_path / packed.RECORDS).exists()
