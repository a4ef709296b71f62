"""Data files: lines that are no items, and files of another kind or name, each said in one line with the mend."""

import gzip
import json
import os
import re

import pytest
from kits.task_kit import task

from zobench.errors import ZobenchError
from zobench.tasks import rows
from zobench.tasks.source import load_pools

GOOD = '{"sentence": "fine", "label": 1}\n'


@pytest.fixture
def data(tmp_path):
    (tmp_path / "sst2").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "sst2" / f"{split}.jsonl").write_text(GOOD * 3)
    return tmp_path


def refused(data):
    with pytest.raises(ZobenchError) as e:
        load_pools(task("sst2"), data)
    assert "\n" not in str(e.value) and len(str(e.value)) < 700
    return str(e.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[" * 200_000, "line 4 is not valid JSON: nested too deeply"),
        ('{"a":' * 200_000, "line 4 is not valid JSON: nested too deeply"),
        ('{"sentence": "a\\ud800", "label": 1}', r"line 4 has half a letter (\ud800 alone), which is no text"),
        ('{"sentence": "a", "la\\udfffbel": 1}', r"line 4 has half a letter (\udfff alone), which is no text"),
        ('{"sentence": "a", "label": NaN}', "line 4 is not valid JSON: NaN is no number of JSON's"),
        ('{"sentence": "a", "label": -Infinity}', "line 4 is not valid JSON: -Infinity is no number of JSON's"),
        ('{"sentence": "a", "label": 1, "label": 0}', "line 4 is not valid JSON: the field 'label' is there twice"),
        ('{"sentence": "a", "label": ' + "9" * 5000 + "}", "line 4 is not valid JSON: Exceeds the limit"),
        ('{"sentence": "' + "a" * (17 << 20) + '", "label": 1}', "line 4 is 17 MiB long; an item has at most 16 MiB"),
        ("\x00", "line 4 is not valid JSON"),
        ("null", "line 4 is not a JSON object"),
        ('{"sentence": ["a"], "label": 1}', "line 4: the field sentence is ['a'], not a text"),
        ('{"label": 1}', "line 4 lacks sentence; it has label"),
    ],
    ids=[f"line{n}" for n in range(13)],
)
def test_lines_that_are_no_items(data, line, said):
    with (data / "sst2" / "train.jsonl").open("a") as file:
        file.write(line + "\n" + GOOD)
    assert f"sst2/train.jsonl: {said}" in refused(data)


def test_what_is_odd_but_an_item(data):
    rows = [
        '{"sentence": "a\\u0000b", "label": 0}',
        '{"sentence": "\\ud83d\\ude00", "label": 0, "more": null}\r',
        "",
        "  ",
    ]
    (data / "sst2" / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(rows).encode())
    assert [item["sentence"] for item in load_pools(task("sst2"), data).train] == ["a\0b", "\N{GRINNING FACE}"]


@pytest.mark.parametrize(
    ("content", "kind", "mend"),
    [
        (GOOD.encode("utf-16"), "UTF-16 text", "iconv -f UTF-16 -t UTF-8 train.jsonl > new.jsonl"),
        (b"\xfe\xff" + GOOD.encode("utf-16-be"), "UTF-16 text", "iconv"),
        (GOOD.encode("utf-16-le"), "UTF-16 text", "iconv"),
        (GOOD.encode("utf-32"), "UTF-32 text", "iconv -f UTF-32"),
        (GOOD.encode("utf-32-be"), "UTF-32 text", "iconv -f UTF-32"),
        (b"PAR1\x15\x04", "Parquet", "pandas.read_parquet('train.jsonl').to_json('new.jsonl'"),
        (gzip.compress(GOOD.encode(), mtime=0), "gzip", "unpack it with gunzip"),
        (b"PK\x03\x04", "a zip archive", "unzip"),
        (b"sentence,label\nfine,1\n", "CSV", "pandas.read_csv('train.jsonl').to_json("),
        (b"sentence\tlabel\nfine\t1\n", "TSV", r"pandas.read_csv('train.jsonl', sep='\t')"),
        (b"[\n" + GOOD.encode() + b"]", "one JSON array", "jq -c '.[]' train.jsonl > new.jsonl"),
        (b"\xef\xbb\xbf[" + GOOD.encode() + b"]", "one JSON array", "jq -c"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS", "git lfs pull"),
    ],
)
def test_another_kind_of_file_under_the_name(data, content, kind, mend):
    (data / "sst2" / "train.jsonl").write_bytes(content)
    said = refused(data)
    assert f"sst2/train.jsonl: line 1 is not valid JSON: the file is {kind}, not JSON Lines; " in said and mend in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "train.csv",
            "it is CSV, not JSON Lines; pandas.read_csv('train.csv').to_json('train.jsonl', orient='records'",
        ),
        ("train.TSV", r"it is TSV, not JSON Lines; pandas.read_csv('train.TSV', sep='\t')"),
        (
            "train-00000-of-00001.parquet",
            "it is Parquet, not JSON Lines; pandas.read_parquet('train-00000-of-00001.parquet')",
        ),
        ("train.json", "jq -c '.[]' train.json > train.jsonl"),
        ("train.jsonl.gz", "it is gzip, not JSON Lines; unpack it with gunzip"),
        ("Train.jsonl", "name it train.jsonl if these are the lines of the split"),
    ],
)
def test_a_file_beside_the_name_that_is_wanted(data, name, said):
    (data / "sst2" / "train.jsonl").rename(data / "sst2" / name)
    found = refused(data)
    assert re.search(r"sst2 has no train\.jsonl; ", found) and f"{name} is there: " in found and said in found


@pytest.mark.parametrize("name", ["dev.jsonl", "val.jsonl", "test.jsonl"])
def test_another_name_of_validation(data, name):
    (data / "sst2" / "validation.jsonl").rename(data / "sst2" / name)
    assert f"{name} is there: name it validation.jsonl" in refused(data)


def test_a_folder_or_a_pipe_is_not_waited_for(data):
    path = data / "sst2" / "train.jsonl"
    path.unlink()
    path.mkdir()
    assert "train.jsonl: a folder, no file" in refused(data)
    path.rmdir()
    os.mkfifo(path)
    assert "train.jsonl" in refused(data) and "pipe" in refused(data)


def test_a_file_that_may_not_be_read(data):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (data / "sst2" / "train.jsonl").chmod(0)
    assert "train.jsonl: cannot be read: Permission denied" in refused(data)


def test_rows_are_what_json_says(data):
    row = {"sentence": 'a\u2028b \U0001f600 \\ "', "label": 0, "idx": 3}
    (data / "sst2" / "train.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps(row, ensure_ascii=False), encoding="utf-8"
    )
    assert list(load_pools(task("sst2"), data).train) == [row, row]


def test_a_line_has_16_mib_at_most():
    most = b'{"a": 1}'.ljust(16 * 2**20)
    assert rows._item(most, "line 1") == {"a": 1}
    with pytest.raises(ZobenchError, match="line 1 is 16 MiB long; an item has at most 16 MiB"):
        rows._item(most + b" ", "line 1")
