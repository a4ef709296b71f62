"""`zobench leaderboard`: what it prints, writes, checks and refuses, and that it stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kits.records import record, small_board

from zobench.cli import main
from zobench.report import store


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for one in small_board():
        store.write(tmp_path / "runs", one)
    return tmp_path / "runs"


def test_it_prints_what_it_writes(results: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["leaderboard", str(results), "--full"]) == 0
    out = capsys.readouterr().out
    assert out == (results / "leaderboard.md").read_text(encoding="utf-8")
    assert out.startswith("# 8 methods · tiny · 2 tasks · 3 seeds\n") and str(results) not in out


def test_twice_is_the_same_and_checks(results: Path, capsys: pytest.CaptureFixture[str]):
    main(["leaderboard", str(results), "--paper"])
    first = (results / "leaderboard.md").read_bytes()
    main(["leaderboard", str(results), "--paper"])
    assert (results / "leaderboard.md").read_bytes() == first
    assert main(["leaderboard", str(results), "--paper", "--check"]) == 0
    capsys.readouterr()
    store.write(results, record("lozo", task="rte"))
    assert main(["leaderboard", str(results), "--paper", "--check"]) == 1
    said = capsys.readouterr()
    assert "is not what the records give" in said.err and said.out == ""
    assert (results / "leaderboard.md").read_bytes() == first, "a check writes nothing"


def test_a_check_needs_a_board(results: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["leaderboard", str(results), "--check"]) == 2
    assert "to check: make it with `zobench leaderboard`" in capsys.readouterr().err


def test_another_file(results: Path, tmp_path: Path):
    assert main(["leaderboard", str(results), "--out", str(tmp_path / "new" / "board.md")]) == 0
    assert (tmp_path / "new" / "board.md").is_file() and not (results / "leaderboard.md").exists()


def test_an_unreadable_record_is_one_line_and_on_the_board(results: Path, capsys: pytest.CaptureFixture[str]):
    (results / "cells" / "half.json").write_text('{"schema": 1, "id"')
    assert main(["leaderboard", str(results), "--full"]) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("zobench: error: cells/half.json: not JSON, or only a part of it")
    assert "cells/half.json" in said.out and "**95.0 ± " in said.out
    assert (results / "leaderboard.md").read_text(encoding="utf-8") == said.out


def test_protocols_mixed_are_one_line_and_no_board(results: Path, capsys: pytest.CaptureFixture[str]):
    store.write(results, record("lozo", protocol={"steps": 7}))
    assert main(["leaderboard", str(results)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "different protocols" in line and "--split-protocols" in line
    assert not (results / "leaderboard.md").exists()
    assert main(["leaderboard", str(results), "--split-protocols"]) == 0


@pytest.mark.parametrize(("content", "says"), [(None, "no record in"), ("{", "no readable record in")])
def test_an_empty_folder(tmp_path: Path, content: str | None, says: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "cells").mkdir()
    if content is not None:
        (tmp_path / "cells" / "x.json").write_text(content)
    assert main(["leaderboard", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert f"{says} {tmp_path / 'cells'}: make some with `zobench run" in err
    assert ("cells/x.json" in err) == (content is not None)
    assert not (tmp_path / "leaderboard.md").exists()


def test_no_such_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["leaderboard", str(tmp_path / "nowhere")]) == 2
    assert "no results folder" in capsys.readouterr().err


def test_columns_of_a_plugin(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plugin = tmp_path / "my_column.py"
    plugin.write_text(
        "import zobench\n\n@zobench.hookimpl\ndef zobench_leaderboard_columns():\n"
        "    return {'hours': lambda records: f\"{sum(r['time']['total_s'] for r in records) / 3600:.4f}\"}\n"
    )
    assert main(["leaderboard", str(results), "--full", "--plugin", str(plugin)]) == 0
    out = capsys.readouterr().out
    assert "hours" in out and "0.0017" in out


def test_it_imports_nothing_heavy(results: Path):
    heavy = ("torch", "transformers", "datasets", "evaluate", "scipy", "matplotlib", "numpy")
    code = (
        f"import sys\nfrom zobench.cli import main\nstatus = main(['leaderboard', {str(results)!r}, '--paper'])\n"
        f"print(status, [m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "0 []"
