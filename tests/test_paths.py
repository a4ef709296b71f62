"""Paths that a user named: nothing that waits, nothing that is no file, one line for what the system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from zobench import paths
from zobench.cli import main
from zobench.cli.common import atomically, write_file
from zobench.cli.new import write_plugin
from zobench.errors import ZobenchError
from zobench.protocol.cell import Cell
from zobench.protocol.protocol import Computation, Protocol
from zobench.report.plain import finite

LONG = "x" * 300


@pytest.fixture
def pipe(tmp_path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    ("function", "name", "message"),
    [
        (paths.read, LONG, "--x .*: File name too long"),
        (paths.read, "a\0b", "--x .*: no path: embedded null"),
        (paths.read, "nothing", "no such file"),
        (paths.read, ".", "a folder, no file"),
        (paths.read, "pipe", "a pipe, no file"),
        (paths.read, "/dev/null", "a device, no file"),
        (paths.is_folder, LONG, "File name too long"),
        (paths.check_writable, ".", "a folder lies there"),
        (paths.check_writable, "pipe", "a pipe lies there"),
        (paths.check_writable, "/dev/null", "a device lies there"),
        (paths.check_writable, "nowhere/a.txt", "name a file in a folder that is there"),
        (paths.check_writable, "file/a.txt", "name a file in a folder that is there"),
        (paths.check_writable, "x" * 245, "its name is too long"),
        (paths.check_writable, "é" * 100 + "x", "its name is too long; give it at most 200 bytes"),
        (paths.check_becomes_folder, LONG, "File name too long"),
        (paths.check_becomes_folder, "new/" + "é" * 120, "a name in it is too long|File name too long"),
        (paths.check_becomes_folder, "file/new", "file is a file; name a folder"),
        (paths.check_becomes_folder, "pipe", "is a file; name a folder"),
    ],
)
def test_what_is_refused(tmp_path, pipe, function, name, message):
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ZobenchError, match=message):
        function(tmp_path / name, "--x")
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_not(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert paths.read(tmp_path / "file", "--x") == b"mine"
    assert not paths.is_folder(tmp_path / "nothing", "--x") and paths.is_folder(tmp_path, "--x")
    paths.check_writable(tmp_path / "file", "--x")
    paths.check_writable(tmp_path / "new", "--x")
    paths.check_becomes_folder(tmp_path / "a" / "b", "--x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_every_place_of_the_command_line_answers_a_long_name_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run = ["run", "--offline", "-e", "zero_shot", "-t", "sst2"]
    lines = [
        [*run, "--results", LONG],
        [*run, "--model", LONG],
        [*run, "--model", f"./{LONG}"],
        [*run, "--data-dir", LONG],
        [*run, "--plugin", LONG],
        [*run, "--results", "~nobody-of-that-name/\0"],
        ["leaderboard", LONG],
        ["leaderboard", ".", "--out", LONG],
        ["leaderboard", ".", "--out", "/dev/null"],
        ["replay", LONG, "a", "--model", "embedded", "--out", "w.safetensors"],
        ["replay", ".", "a", "--model", "embedded", "--out", LONG],
        ["replay", ".", LONG, "--model", "embedded", "--out", "w.safetensors"],
        ["analyze", "layers", LONG],
        ["analyze", "layers", ".", "--plot", f"{LONG}.png"],
        ["analyze", "methods", ".", "--out", LONG],
        ["analyze", "activations", "--model", "embedded", "--task", "sst2", "--json", LONG],
        ["bench", "--preset", "ci", "--plot", f"{LONG}.png"],
        ["new", "estimator", LONG],
        ["new", "estimator", "x", "--directory", LONG],
        ["show", "task", "sst2", "--data-dir", LONG],
        ["show", "task", "sst2", "--model", LONG, "--offline"],
    ]
    for line in lines:
        status, (out, err) = main(line), capsys.readouterr()
        assert status == 2 and (out == "" or line[0] == "show"), line
        assert err.startswith("zobench: error: ") and err.count("\n") == 1, line
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_whole_is_not_there_at_all(tmp_path, monkeypatch):
    """A disk that is full at the last byte: the file of before stays, and nothing else."""
    (tmp_path / "a.md").write_text("before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("a.md", "b.md"):
        with pytest.raises(ZobenchError, match=f"cannot write .*{name}: No space left on device"):
            write_file(tmp_path / name, b"after")
        with pytest.raises(ZobenchError, match=f"--out .*{name}: cannot be written: No space left"):
            with atomically(tmp_path / name, "--out") as draft:
                draft.write_bytes(b"after")
    with pytest.raises(ZobenchError, match="cannot write .*c.py: No space left on device"):
        write_plugin("estimator", "c", tmp_path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.md", "before")]


def test_half_letters_are_written_out_in_a_record(tmp_path):
    """Names of files may have some, and so may what a plugin notes."""
    made = finite({"a\udcff": ["b\ud800", "é", 1.5, float("nan")]})
    assert made == {"a\\udcff": ["b\\ud800", "é", 1.5, None]}


def test_the_files_of_a_cell_have_names_that_a_system_takes():
    selector = "+".join(f"layer:{i}" for i in range(90))
    for name in (selector, "odd:../../é\0x"):
        cell = Cell(
            *("m", "r", "t" * 200, 1, "hub", "r", "e" * 200, name, 2**32 - 1, (1e-3,)), Protocol(), Computation()
        )
        assert len(os.fsencode(f".{cell.id}.weights.safetensors.12345678.tmp")) < 256
        assert cell.id.isascii() and "/" not in cell.id and "\0" not in cell.id


def test_a_name_of_200_bytes_may_be_written(tmp_path):
    paths.check_writable(tmp_path / ("é" * 100), "--x")


@pytest.mark.parametrize(
    ("refused", "says"), [("", None), ("folder", "permission denied"), ("file", "permission denied")]
)
def test_a_file_is_written_where_both_it_and_its_folder_may_be(tmp_path, monkeypatch, refused, says):
    """Whoever asks, who may be allowed all."""
    file = tmp_path / "file"
    file.touch()
    no = {"folder": tmp_path, "file": file}.get(refused)
    monkeypatch.setattr(paths.os, "access", lambda path, how: path != no)
    if says is None:
        paths.check_writable(file, "--out")
    else:
        with pytest.raises(ZobenchError, match=says):
            paths.check_writable(file, "--out")
