"""A board of what fits into so much memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kits.records import items, record

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import memory, store
from zobench.report.leaderboard import board


def of(estimator: str, right: int, peaks: tuple[int, ...]) -> list[Any]:
    made = [record(estimator, seed=s, test=items(right)) for s in range(3)]
    for one, n in zip(made, peaks, strict=True):
        one["memory"]["peak_bytes"] = n
    return list(made)


METHODS = [
    *of("adamw", 99, (9, 9, 9)),
    *of("lozo", 95, (5, 5, 7)),
    *of("mezo", 70, (5, 5, 6)),
    *of("es", 50, (1, 1, 1)),
]


def test_the_best_method_within_a_limit():
    (within,) = board(METHODS, most_bytes=6).screens
    assert within.words.answer.startswith("**Within 6 B of peak memory: mezo / all is best")
    assert "Left out: adamw / all (9 B), lozo / all (7 B)." in within.words.more
    assert board(METHODS).screens[0].words.answer.startswith("**lozo / all is best")
    (whole,) = board(METHODS, most_bytes=2 * 10**9).screens
    assert whole.words.answer.startswith("**Within 2 GB of peak memory: lozo")
    assert "Every method fits." in whole.words.more


def test_where_nothing_fits_it_says_so():
    (within,) = board(METHODS[:-3], most_bytes=2).screens
    assert within.words.answer.startswith("**Within 2 B of peak memory: no method fits.**")


def test_sorted_by_memory_or_time():
    (screen,) = board(METHODS, order="memory").screens
    names = [line.row.name for line in screen.lines]
    assert names == ["es / all", "mezo / all", "lozo / all", "adamw / all"]
    assert [str(line.rank) for line in screen.lines[:3]] == ["3", "2", "1"], "the rank is by average, as ever"
    said = "Least memory first, each higher than all that take less: es / all 1 B (50.0), mezo / all 6 B (70.0), "
    assert f"{said}lozo / all 7 B (95.0)." in screen.words.more
    four = [*METHODS[3:], *of("fzoo", 55, (2, 2, 2))]
    (line,) = [one for one in board(four, order="memory").screens[0].words.more if one.startswith("Least")]
    assert line.endswith("es / all 1 B (50.0), fzoo / all 2 B (55.0), mezo / all 6 B (70.0), lozo / all 7 B (95.0).")
    (line,) = [
        one
        for one in board([*four, *of("zo_adam", 60, (3, 3, 3))], order="memory").screens[0].words.more
        if one.startswith("Least")
    ]
    assert line.endswith("fzoo / all 2 B (55.0), zo_adam / all 3 B (60.0), 1 more, lozo / all 7 B (95.0).")
    dear = [*of("es", 50, (1, 1, 1)), *of("mezo", 40, (2, 2, 2))]
    assert "No method takes less memory or scores higher than es / all 1 B (50.0)." in (
        board(dear, order="memory").screens[0].words.more
    )
    for n, one in enumerate(dear):
        one["time"]["step_s"] = 1.0 - n / 10
    (screen,) = board(dear, order="time").screens
    assert [line.row.name for line in screen.lines] == ["mezo / all", "es / all"]
    assert "which are sorted by average" in board(dear).markdown
    assert "sorted by peak memory" in board(dear, order="memory").markdown


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "Every method fits."),
        ("a", "Left out: a."),
        ("abcd", "Left out: a, b, c, d."),
        ("abcde", "Left out: a, b, c and 2 more."),
    ],
)
def test_of_many_that_are_left_out_three_are_named(names: str, said: str):
    assert memory.MemoryLimit(10, tuple(names)).said() == [said]


def test_of_equal_scores_the_one_that_takes_less_is_named():
    made = [
        *of("es", 50, (1, 1, 1)),
        *of("lozo", 50, (2, 2, 2)),
        *of("mezo", 70, (3, 3, 3)),
        *of("fzoo", 70, (4, 4, 4)),
    ]
    (said,) = [one for one in board(made, order="memory").screens[0].words.more if one.startswith("Least memory")]
    assert said.endswith("es / all 1 B (50.0), mezo / all 3 B (70.0).")


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for one in METHODS:
        one["memory"]["peak_bytes"] *= 10**9
        store.write(tmp_path, one)
    assert main(["leaderboard", str(tmp_path), "--max-memory", "6GB", "--sort", "memory", "--no-html"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Within 6 GB of peak memory: mezo / all is best") for line in out)


@pytest.mark.parametrize(
    ("said", "n"), [("16GB", 16 * 10**9), ("16 GiB", 16 * 2**30), ("900m", 900 * 10**6), ("1.5T", 15 * 10**11)]
)
def test_sizes(said: str, n: int):
    assert memory.parsed(said) == n


@pytest.mark.parametrize("said", ["", "0GB", "much", "-1GB", "16XB", "16", "GB", "16GBs"])
def test_what_is_no_size(said: str):
    with pytest.raises(ZobenchError, match=f"--max-memory {said}: write a size, for example 16GB or 24GiB"):
        memory.parsed(said)


@pytest.mark.parametrize(("n", "said"), [(16 * 10**9, "16 GB"), (24 * 2**30, "24 GiB"), (5 * 10**6, "5 MB")])
def test_a_limit_is_said_as_people_write_it(n: int, said: str):
    assert memory.MemoryLimit(n, ()).size == said
