"""Rows that are no rivals: the untouched model, the untouched model with demonstrations, training with gradients."""

from __future__ import annotations

from kits.records import items, record

from zobench.report.leaderboard import render
from zobench.report.summary import summarise


def in_context(**kw):
    made = record("icl", "-", lrs=(), speedup=None, settings={"demonstrations": 32}, **kw)
    for key in ("chosen", "scope"):
        made.pop(key, None)
    return made | {"trials": [], "scope": None, "time": {"total_s": 1.0}}


def table(board, heading):
    lines = board.split(f"### {heading}")[1].split("\n\n")
    block = next(part for part in lines if part.startswith("|"))
    return {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in block.splitlines()[2:]
    }


def test_in_context_learning_is_not_the_untouched_model():
    """It has a gain, and without a zero_shot record the board shows the untouched model all the same."""
    scores = table(render([in_context(test=items(70)), record("mezo", test=items(80))]), "Test score")
    assert list(scores) == ["*zero-shot*", "*icl*", "mezo"]
    assert scores["*zero-shot*"][-2] == "-"
    assert scores["*icl*"][-2].startswith("+20.0 ± ") and scores["*icl*"][-2][-1].isdigit(), "no seeds, none unseen"
    assert scores["mezo"][-2].startswith("+30.0 ± ") and scores["mezo"][-2].endswith("¹")
    with_record = [in_context(test=items(70)), record("zero_shot", test=50, zero_shot=50, speedup=None)]
    assert list(table(render(with_record), "Test score")) == ["*icl*", "*zero_shot*"]


def test_its_gain_is_paired():
    gains = table(
        render([in_context(test=items(70)), record("zero_shot", test=50, zero_shot=50)]), "Gain over zero-shot"
    )
    assert list(gains) == ["*icl*"] and gains["*icl*"][1].startswith("+20.0 ± ")


def test_references_are_no_rivals():
    right = {"mezo": 60, "lozo": 90, "sgd": 98, "adamw": 97}
    made = [record(name, seed=s, test=items(n)) for name, n in right.items() for s in range(3)]
    board = render([*made, in_context(test=items(99))])
    scores = table(board, "Test score")
    assert [name for name in scores if name.startswith("*")] == ["*zero-shot*", "*icl*", "*adamw*", "*sgd*"]
    assert "**90.0" in scores["lozo"][1] and not any(
        "**" in cell for name in scores if "*" in name for cell in scores[name]
    )


def test_in_a_line():
    assert summarise(in_context(test=70)) == "sst2 icl seed 0: accuracy 70.0 ± 9.1 (zero-shot 50.0)"
