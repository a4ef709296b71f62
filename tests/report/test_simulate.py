"""Boards made under a null err as often as they say, and find what is there: the small, fixed version."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from zobench.errors import ZobenchError
from zobench.report import methods, simulate, simulated, stats, store
from zobench.report.sections import sections
from zobench.report.simulated import Design, World, draw, estimate, records_of

WORLD = World((0.5, 0.77, 0.56, 0.72), 200, (0.0, 0.007, 0.015, 0.025, 0.03, 0.042, 0.06, 0.077, 0.12), 0.64, 0.05)
"""About what the records of results/field give."""

BOARDS = 400


@pytest.fixture(scope="module")
def null() -> simulate.ShownByBoards:
    return simulate.run(WORLD, Design(5, 3, 3), BOARDS)


def test_false_marks_are_as_rare_as_is_said(null: simulate.ShownByBoards):
    assert null.false_marks <= 0.06


def test_counts_have_the_share_of_false_ones_that_is_said(null: simulate.ShownByBoards):
    assert null.false_counts <= 0.06


def test_intervals_cover_what_they_say(null: simulate.ShownByBoards):
    assert 0.93 <= null.coverage <= 0.99


def test_a_true_difference_is_found_and_more_seeds_find_it_more_often():
    three, five = (simulate.run(WORLD, Design(5, s, 3, 0.1), 100) for s in (3, 5))
    assert 0.3 < three.power < five.power
    assert three.false_marks <= 0.09 and five.coverage >= 0.92


def test_items_alone_would_err_often():
    """The rule that was: seeds averaged first, and a test over items. The test above can fail."""
    false = 0
    for start in range(0, 200, 50):
        answers, _ = draw(WORLD, Design(5, 3, 3), 50, start)
        for board in answers:
            ps = []
            for m in range(1, 5):
                parts = [
                    stats.score({0: list((board[m, :, t] - board[0, :, t].astype(float)).mean(axis=0))})
                    for t in range(3)
                ]
                ps.append(stats.combine([one for one in parts if one is not None]).p)
            false += min(stats.holm(ps)) < 0.05
    assert false / 200 > 0.12


def test_the_model_makes_what_it_was_told():
    answers, true = draw(WORLD, Design(4, 3, 4, 0.1), 60, 7)
    means = answers.mean(axis=(0, 2, 4))
    assert means[0] == pytest.approx(WORLD.scores, abs=0.02)
    assert means[1] == pytest.approx([p + 0.1 for p in WORLD.scores], abs=0.03)
    assert true[:, 0].mean(axis=0) == pytest.approx(WORLD.scores, abs=0.005)
    again, _ = draw(WORLD, Design(4, 3, 4, 0.1), 60, 7)
    assert np.array_equal(answers, again)
    with_untouched, _ = draw(WORLD, Design(4, 3, 4), 5, 7, untouched=True)
    assert with_untouched.shape[1] == 5


def test_a_world_is_estimated_from_records_of_it():
    answers, _ = draw(WORLD, Design(20, 4, 4), 1, 3)
    found = estimate(records_of(answers, 0))
    assert found.items == 200 and found.scores == pytest.approx(WORLD.scores, abs=0.1)
    assert np.mean(found.deviations) == pytest.approx(np.mean(WORLD.deviations), abs=0.012)
    assert found.shared == pytest.approx(WORLD.shared, abs=0.1)
    assert found.shared + found.own == pytest.approx(WORLD.shared + WORLD.own, abs=0.1)
    with pytest.raises(ZobenchError, match="two methods and tasks at least"):
        estimate([r for r in records_of(answers, 0) if r["cell"]["task"] == "t00"])
    with pytest.raises(ZobenchError, match="items and two seeds"):
        estimate([r for r in records_of(answers, 0) if r["cell"]["seed"] == 0])


@pytest.mark.parametrize("design", [Design(4, 3, 3, 0.1), Design(3, 5, 2), Design(3, 1, 2)])
def test_effects_at_once_are_those_of_records(design: Design):
    """What the simulation computes for many tables at once is what a board makes of the same answers, one by one."""
    answers, _ = draw(WORLD, design, 3, 11)
    for board, fast in enumerate(simulate.against_control(answers)):
        made = records_of(answers, board)
        assert store.check(made[0]) == []
        (section,) = sections(made)
        by_name = {row.method: row for row in section.rows}
        for name, one in fast.items():
            slow = by_name[name].minus(by_name["m00"], section.scored)
            assert slow is not None
            for key in ("mean", "stderr", "df", "p"):
                assert math.isclose(getattr(one, key), getattr(slow, key), rel_tol=1e-7, abs_tol=1e-12), key
            for own, of in zip(one.tasks, slow.tasks, strict=True):
                for key in ("items", "units", "ms_items", "ms_seeds", "ms_both", "moved"):
                    both = getattr(own.splits[0], key), getattr(of.splits[0], key)
                    assert math.isclose(*both, rel_tol=1e-5, abs_tol=1e-9), key
        (field,) = methods.fields(section, ["m00"])
        told = {s.name: s.against[0].verdict for s in field.standings if s.against}
        assert told == stats.verdicts(fast)


def test_whole_boards_are_judged_with_gains_and_bold():
    board, page = simulate.whole_boards(WORLD, Design(3, 3, 2), 12)
    assert board <= 2 / 12 and page <= 2 / 12


@pytest.mark.slow
def test_whole_boards_err_as_rarely():
    board, page = simulate.whole_boards(WORLD, Design(5, 3, 3), BOARDS)
    assert board <= 0.06 and page <= 0.06


def test_the_command(tmp_path, capsys, monkeypatch):
    answers, _ = draw(WORLD, Design(3, 3, 2), 1, 0)
    for one in records_of(answers, 0):
        (tmp_path / "cells").mkdir(exist_ok=True)
        store.write(tmp_path, one)
    monkeypatch.setattr(simulate, "DESIGNS", (Design(3, 3, 2), Design(3, 3, 2, 0.1)))
    assert simulate.main([str(tmp_path), "5"]) == 0
    out = capsys.readouterr().out
    assert "Estimated: 200 items a task" in out and "| 3, 3, 2 " in out and "10 points" in out
    assert simulate.main([]) == 2 and simulate.main([str(tmp_path / "none")]) == 2
    assert "no results folder" in capsys.readouterr().err


def test_two_rows_that_vary_have_a_correlation_and_one_has_none():
    up, down, still = [0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0]
    for table, expected in (([up, up], 1.0), ([up, down], -1.0), ([up, still], 0.0), ([up, up, down], -1 / 3)):
        assert simulated._correlation(np.array(table)) == pytest.approx(expected)


def test_the_designs_are_those_of_the_tables_in_docs():
    """Docs have those of one seed too, to say that they have no marks."""
    page = (Path(__file__).parents[2] / "docs/statistics.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| (\d+), (\d+), (\d+) \| (?:(\d+) points)?", page, flags=re.MULTILINE)
    designs = [Design(int(m), int(s), int(t), int(by or 0) / 100) for m, s, t, by in told if s != "1"]
    assert sorted(map(str, designs)) == sorted(map(str, simulate.DESIGNS)) and len(designs) == 13
