"""Boards and records for other programs: CSV, JSON, LaTeX, Parquet; of one folder and of several."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kits.records import items, record, small_board

from zobench.cli import board_export, main
from zobench.report import compare, export, store
from zobench.report.leaderboard import board
from zobench.report.sections import sections


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for one in small_board():
        store.write(tmp_path / "runs", one)
    return tmp_path / "runs"


def rows(text: str) -> dict[str, dict[str, str]]:
    return {f"{row['method']}/{row['selector']}": row for row in csv.DictReader(io.StringIO(text))}


def test_csv_has_the_numbers_of_the_board(results: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["leaderboard", str(results), "--format", "csv"]) == 0
    found = rows(capsys.readouterr().out)
    assert not (results / "leaderboard.md").exists(), "a format writes what was asked for alone"
    layer = found["mezo/layer"]
    (section,) = sections(small_board())
    row = next(row for row in section.rows if row.selector == "layer")
    effect = row.effect(section.scored)
    assert effect is not None and float(layer["average"]) == effect.mean
    assert float(layer["average_half95"]) == effect.half() and layer["rank"] == "1"
    verdicts = compare.judge(section)
    at = section.rows.index(row)
    assert float(layer["vs_full_mezo_p"]) == verdicts.p[compare.CONTROL, "average", at]
    assert float(layer["test.copa"]) == pytest.approx(0.72)
    assert (layer["test.copa.seeds"], layer["tasks_better"]) == ("3", "1")
    assert found["lozo/all"]["average"] == "" and found["lozo/all"]["test.copa.failed"] == "oom"


def test_json_says_what_it_is(results: Path, tmp_path: Path):
    out = tmp_path / "new" / "b.json"
    assert main(["leaderboard", str(results), "--format", "json", "--out", str(out)]) == 0
    made = json.loads(out.read_text(encoding="utf-8"))
    (section,) = made["sections"]
    assert (
        made["schema"] == 1 and section["answer"].startswith("mezo / layer is best") and section["tasks"][0] == "copa"
    )
    assert {one["method"] for one in section["methods"]} >= {"mezo", "adamw", "lozo"}


def test_the_other_formats_are_the_files_of_a_board(results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    main(["leaderboard", str(results)])
    capsys.readouterr()
    main(["leaderboard", str(results), "--format", "md"])
    assert capsys.readouterr().out == (results / "leaderboard.md").read_text(encoding="utf-8")
    main(["leaderboard", str(results), "--format", "html", "--out", str(tmp_path / "p.html")])
    assert (tmp_path / "p.html").read_bytes() == (results / "board.html").read_bytes()


HOSTILE = r"a_b & 50% \input{x} $y$ ^~ ü"


def test_latex_has_a_line_a_method_and_nothing_live():
    made = board([*small_board(), record("odd", settings={"x": HOSTILE}), record("odd", seed=1, settings={"x": 2})])
    text = export.as_latex(made)
    assert text.count(" \\\\\n") == len(made.sections[0].rows) + 1
    assert "\\textbf{95.0}" in export.as_latex(board(small_board()))
    assert "\\input" not in text and r"a\_b \& 50\% \textbackslash{}input\{x\} \$y\$" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-base)")
def test_latex_compiles(tmp_path: Path):
    made = board([*small_board(), record("odd", settings={"x": HOSTILE}), record("odd", seed=1, settings={"x": 2})])
    head = "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(head + export.as_latex(made) + "\\end{document}\n", encoding="utf-8")
    program = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-1500:]


def test_records_are_a_flat_row_a_cell(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["leaderboard", str(results), "--records", "csv"]) == 0
    made = {row["id"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert len(made) == 32
    one = made[record("mezo", "layer", "sst2", 1, selector_settings={"index": [1]})["id"]]
    assert (one["cell.task"], one["metrics.test.value"], one["cell.seed"]) == ("sst2", "0.95", "1")
    assert one["cell.selector_settings.index"] == "[1]" and float(one["time.step_s"]) == 0.004
    assert not any(key.endswith("items") for key in one)
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main(["leaderboard", str(results), "--records", "parquet", "--out", str(tmp_path / "r.parquet")]) == 0
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table.num_rows == 32 and table.schema.field("metrics.test.value").type == "double"
    assert table.schema.field("cell.seed").type == "int64"


def test_a_cell_is_no_formula():
    assert export.table([{"a": "=1+1", "b": -2.5, "c": "-"}]) == "a,b,c\n'=1+1,-2.5,-\n"


def test_several_folders_are_one_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = tmp_path / "a", tmp_path / "b"
    for seed in range(3):
        store.write(a, record(seed=seed, test=items(60)))
        store.write(b, record("lozo", seed=seed, test=items(90)))
    assert main(["leaderboard", str(a), str(b)]) == 0
    said = capsys.readouterr()
    assert "lozo / all is best" in said.out and said.err == ""
    assert not (a / "leaderboard.md").exists() and not (b / "leaderboard.md").exists()
    out = tmp_path / "both.md"
    assert main(["leaderboard", str(a), str(b), "--out", str(out)]) == 0
    assert main(["leaderboard", str(b), str(a), "--out", str(out), "--check"]) == 0
    capsys.readouterr()
    store.write(b, record(seed=0, test=items(10)))
    assert main(["leaderboard", str(a), str(b), "--format", "csv"]) == 0
    said = capsys.readouterr()
    assert float(rows(said.out)["mezo/all"]["average"]) == 0.6 and "that of the folder named first counts" in said.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--check", "--format", "csv"], "leave out --format"),
        (["--format", "csv", "--records", "csv"], "give one of them"),
        (["--records", "parquet"], "name the file"),
    ],
)
def test_options_that_exclude_each_other(results: Path, more: list[str], says: str, capsys: Any):
    assert main(["leaderboard", str(results), *more]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 2, None], [1, 2, None]),
        ([1, 2.5, None], [1.0, 2.5, None]),
        (["a", None, "b"], ["a", None, "b"]),
        (["a", 1, None], ["a", "1", None]),
        ([True, False], [True, False]),
        ([None, None], [None, None]),
    ],
)
def test_a_column_has_one_type(values, column):
    found = board_export._column(values)
    assert found == column and [type(one) for one in found] == [type(one) for one in column]


def test_latex_has_a_rule_between_references_and_methods():
    below = [part.split(" ")[0] for part in export.as_latex(board(small_board())).split("\\midrule\n")[1:]]
    assert below == ["zero\\_shot", "mezo"]


@pytest.mark.parametrize("mark", ["=", "+", "@", "\t", "\r"])
def test_what_a_spreadsheet_would_compute_is_text(mark: str):
    assert export._safe(f"{mark}x") == f"'{mark}x" and export._safe(f"x{mark}") == f"x{mark}" and export._safe(-1) == -1
