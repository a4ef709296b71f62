"""A board of what fits into so much memory."""

from __future__ import annotations

import pytest
from kits.records import items, record

from zobench.errors import ZobenchError
from zobench.report import memory
from zobench.report.leaderboard import board


def of(estimator: str, right: int, peaks: tuple[int, ...]) -> list[object]:
    made = [record(estimator, seed=s, test=items(right)) for s in range(3)]
    for one, n in zip(made, peaks, strict=True):
        one["memory"]["peak_bytes"] = n
    return list(made)


def test_the_best_method_within_a_limit():
    made = [
        *of("adamw", 99, (9, 9, 9)),
        *of("lozo", 95, (5, 5, 7)),
        *of("mezo", 70, (5, 5, 6)),
        *of("es", 50, (1, 1, 1)),
    ]
    within = board(made, most_bytes=6)
    assert within.screens[0].words.answer.startswith("**mezo / all is best")
    assert "Left out: adamw / all (9 B); lozo / all (7 B)." in within.markdown, "the largest cell decides"
    assert board(made).screens[0].words.answer.startswith("**lozo / all is best")


@pytest.mark.parametrize(
    ("said", "n"), [("16GB", 16 * 10**9), ("16 GiB", 16 * 2**30), ("900m", 900 * 10**6), ("1.5k", 1500), ("7", 7)]
)
def test_sizes(said: str, n: int):
    assert memory.parsed(said, "--max-memory") == n


@pytest.mark.parametrize("said", ["", "0GB", "much", "-1GB", "16XB"])
def test_what_is_no_size(said: str):
    with pytest.raises(ZobenchError, match="--max-memory 16GB"):
        memory.parsed(said, "--max-memory")
