"""A task from a table of one's own: what it reads, how it splits, and what it says where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.tasks import own_data
from zobench.tasks.own_data import own_task
from zobench.tasks.source import load_pools
from zobench.tasks.task import Task

ROWS = [(f'film {i}, it was "{w}"\nso', w) for i in range(20) for w in ("good", "not_bad")]


def table(folder: Path, ending: str = ".csv", rows: Any = ROWS) -> Path:
    path = folder / f"my reviews{ending}"
    if ending == ".jsonl":
        path.write_text("".join(json.dumps({"Review": r, "sentiment": s}) + "\n" for r, s in rows), encoding="utf-8")
    elif ending == ".parquet":
        datasets = pytest.importorskip("datasets")
        columns = {"Review": [r for r, _ in rows], "sentiment": [s for _, s in rows]}
        datasets.Dataset.from_dict(columns).to_parquet(str(path))
    else:
        mark = "," if ending == ".csv" else "\t"
        quoted = [f'"{r.replace(chr(34), chr(34) * 2)}"{mark}{s}' for r, s in rows]
        path.write_text("\n".join([f"Review{mark}sentiment", *quoted, ""]), encoding="utf-8-sig")
    return path


def written(folder: Path, file: Path, *more: str) -> tuple[Any, Any]:
    words = ["new", "task", "mine", "--from", str(file), "--text", "Review", "--label", "sentiment"]
    assert main([*words, "--directory", str(folder), *more]) == 0
    task = Task.load(folder / "mine.toml")
    return task, load_pools(task, "hub")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_kind_of_file_gives_the_same_task(tmp_path: Path, ending: str):
    task, pools = written(tmp_path, table(tmp_path, ending))
    assert len(pools.train) == 32 and len(pools.validation) == 8
    assert sorted(item["sentiment"] for item in pools.validation) == [0] * 4 + [1] * 4, "a fifth of every label"
    assert {item["Review"] for item in (*pools.train, *pools.validation)} == {r for r, _ in ROWS}
    example = task.render(pools.train[0])
    at = pools.train[0]["sentiment"]
    assert example.prompt == f"{pools.train[0]['Review'].strip()}\nSentiment:"
    assert example.candidates == ("good", "not bad") and tuple(example.correct) == (at,)
    assert example.texts[at] == f"{example.prompt} {['good', 'not bad'][at]}"
    made = pools.provenance["made"]
    assert made["split"] == {"by": "sentiment", "seed": 0, "test": 0.2} and made["file"] == f"my reviews{ending}"


def test_the_split_is_a_function_of_its_seed(tmp_path: Path):
    file = table(tmp_path)
    one, two, other = (own_task(file, ["Review"], "sentiment", seed=s) for s in (1, 1, 2))
    assert one == two and one.validation != other.validation and one.name == "my_reviews"


def test_prompts_and_words_are_the_users_and_change_the_version(tmp_path: Path):
    file = table(tmp_path, rows=[(f"film {i}", i % 2) for i in range(10)])
    plain = own_task(file, ["Review"], "sentiment")
    assert "the labels are numbers" in plain.said[-1]
    own = own_task(file, ["Review"], "sentiment", prompt="{Review}\\nIt was", words={"0": "bad", "1": "good"})
    assert 'prompt = "{{ Review }}\\nIt was"' in own.toml and 'candidates = ["bad", "good"]' in own.toml
    versions = [next(line for line in one.toml.splitlines() if line.startswith("version")) for one in (plain, own)]
    assert versions[0] != versions[1], "records of other prompts share no row"


def test_rows_without_a_text_or_a_label_are_left_out_and_counted(tmp_path: Path):
    made = own_task(table(tmp_path, rows=[*ROWS, ("", "good"), ("x", "")]), ["Review"], "sentiment")
    assert made.said == ("40 items: 20 good, 20 not_bad", "2 rows without a text or a label are left out")


def test_several_columns_of_text_are_named(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        "".join(json.dumps({"premise": f"p{i}", "my hypothesis": "h", "label": i % 3}) + "\n" for i in range(9))
    )
    made = own_task(path, ["premise", "my hypothesis"], "label", words={"0": "a", "1": "b", "2": "c"})
    assert r'"Premise: {{ premise.strip() }}\nMy hypothesis: {{ my_hypothesis.strip() }}\nLabel:"' in made.toml


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (ROWS, {"text": ["Reviews"]}, "Review"),
        ([("a", "x"), ("b", "x")], {}, "1 different values"),
        ([(f"a{i}", f"x{i}") for i in range(60)], {}, "60 different values"),
        (ROWS, {"words": {"good": "fine"}}, "none for the label 'not_bad'"),
    ],
)
def test_what_is_no_task_is_one_line(tmp_path: Path, rows: Any, options: Any, says: str):
    asked: dict[str, Any] = {"text": ["Review"], **options}
    with pytest.raises(ZobenchError, match=says):
        own_task(table(tmp_path, rows=rows), asked.pop("text"), "sentiment", **asked)


def test_other_files_and_missing_columns_are_refused(tmp_path: Path, capsys: Any):
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    words = ["run", "--estimator", "mezo", "--results", str(tmp_path / "r")]
    assert main([*words, "--data", str(tmp_path / "x.xlsx"), "--text", "a", "--label", "b"]) == 2
    assert "give a .csv, .tsv, .jsonl or .parquet" in capsys.readouterr().err
    assert main([*words, "--data", str(table(tmp_path))]) == 2
    assert "say which columns are what" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    (tmp_path / "latin.csv").write_bytes("Review,sentiment\né,x\n".encode("latin-1"))
    with pytest.raises(ZobenchError, match="not UTF-8 text"):
        own_task(tmp_path / "latin.csv", ["Review"], "sentiment")


@pytest.mark.parametrize(
    ("train", "labels", "dev"), [(4000, 2, 100), (400, 2, 100), (396, 2, 99), (40, 3, 10), (8, 3, 3), (2, 2, 2)]
)
def test_dev_is_a_quarter_of_what_is_left_with_bounds(train, labels, dev):
    """At least one item a label, and no more than a hundred."""
    assert own_data._num_dev(train, labels) == dev


def test_whole_numbers_that_a_table_holds_as_floats_are_whole(tmp_path: Path):
    """As a column with gaps has them; and rows without a label are left out, and counted."""
    rows = [*((f"film {i}", float(i % 2)) for i in range(10)), ("half", 0.5), ("other half", 0.5), ("no label", None)]
    made = own_task(table(tmp_path, ".jsonl", rows), ["Review"], "sentiment")
    assert made.said[:2] == ("12 items: 5 0, 2 0.5, 5 1", "1 rows without a text or a label are left out")
