"""Small things of `zobench run`: ranges of blocks, failures alike in a line, what dev said in the log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kits.records import record, score

from zobench.cli import dry_run, failures
from zobench.cli.run_options import duration_of, jobs_of, ranges, shard_of
from zobench.errors import ZobenchError
from zobench.report.memory import parsed
from zobench.report.summary import summarise


def test_a_range_of_blocks_is_so_many_selectors():
    assert ranges(("all", "layer:0-3", "layer:2")) == ("all", "layer:0", "layer:1", "layer:2", "layer:3")
    assert ranges(("layer:1+layer:30", "first_outlier+layer:0", "all_but:layer:1")) == (
        "layer:1+layer:30",
        "first_outlier+layer:0",
        "all_but:layer:1",
    )
    assert ranges(("layer:5-5",)) == ("layer:5",)


@pytest.mark.parametrize("name", ["layer:3-1", "layer:0-1000000"])
def test_a_range_that_is_none_is_refused(name: str):
    with pytest.raises(ZobenchError, match="layer:0-31"):
        ranges((name,))


def test_what_takes_less_memory_is_said_most_first():
    account = SimpleNamespace(ways={"a": 2**30, "b": 3 * 2**30, "c": 2 * 2**30})
    assert dry_run._ways(account) == "; b: 3.0 GiB less; c: 2.0 GiB less; a: 1.0 GiB less"


def test_words_for_numbers():
    assert [jobs_of(text) for text in ("auto", "1", "8")] == [0, 1, 8]
    assert [duration_of(text) for text in (None, "90", "1.5s", "30m", "2h")] == [0.0, 90.0, 1.5, 1800.0, 7200.0]
    assert [shard_of(text) for text in (None, "1/4", "2/4", "4/4")] == [(1, 1), (1, 4), (2, 4), (4, 4)]
    assert [parsed(text) for text in ("16GB", "24GiB", "1.5k", "512 MB")] == [
        16 * 10**9,
        24 * 2**30,
        1500,
        512 * 10**6,
    ]
    for read, wrong in ((jobs_of, "0"), (duration_of, "0m"), (shard_of, "5/4"), (shard_of, "0/4"), (parsed, "16")):
        with pytest.raises(ZobenchError, match=f" {wrong}: write "):
            read(wrong)


def test_cells_that_failed_alike_are_one_line_and_the_mend_is_said():
    made = [record("lozo", task=f"t{n}", status="error", error="ValueError: x") for n in range(9)]
    made += [record("mezo", status="oom", error="no room"), record("fzoo")]
    lines = failures.lines(made)
    assert len(lines) == 4 and lines[0].startswith("failed: 9 cells, t0-lozo-") and lines[0].endswith(": ValueError: x")
    assert [line.partition(":")[0] for line in lines[2:]] == ["oom", "error"]
    assert "--rerun failed" in lines[-1] and failures.lines([record()]) == []


@pytest.mark.parametrize(
    ("status", "says"), [("diverged", "lower --lr"), ("timeout", "a longer --timeout"), ("oom", "more memory")]
)
def test_what_helps_is_said_by_how_cells_failed(status, says):
    assert says in failures.lines([record(status=status, error="x")])[-1]


def test_what_the_machine_failed_runs_again_by_itself():
    one = record(status="error", error="disk")
    one["retry"] = "a full disk"
    (line,) = failures.lines([one])
    assert "the same command runs it again" in line


def test_the_log_says_what_dev_said():
    one = record(test=91, zero_shot=58)
    one["metrics"]["dev"] = {**score([1.0, 1.0, 1.0, 0.0]), "loss": 0.5}
    assert "lr 0.001 at step 75 (dev 75.0, best of 3 rates)" in summarise(one)
