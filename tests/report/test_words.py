"""What a board says in a number or a line: means of ratios, no gain, errors of any length."""

from __future__ import annotations

from kits.records import record

from zobench.report import text
from zobench.report.leaderboard import render


def test_the_speed_up_of_seeds_and_tasks_is_a_geometric_mean():
    of_seeds = [record(seed=0, speedup=1.0), record(seed=1, speedup=9.0)]
    assert "3.00x" in render(of_seeds) and "5.00x" not in render(of_seeds)
    of_tasks = [record(task="sst2", speedup=1.0), record(task="rte", speedup=9.0)]
    assert "3.00x" in render(of_tasks) and "5.00x" not in render(of_tasks)


def test_a_score_that_equals_zero_shot_does_not_beat_it():
    assert "does not beat zero-shot on sst2" in render([record(test=60, zero_shot=60)])
    assert "does not beat" not in render([record(test=61, zero_shot=60)])


def test_a_long_error_is_cut():
    said = text.sentence("no " * 400)
    assert len(said) == 300 and said.endswith("...") and text.sentence("no") == "no"
    board = render([record(), record(seed=1, status="error", error="word " * 300)])
    assert max(len(line) for line in board.splitlines() if "word word" in line) < 500
