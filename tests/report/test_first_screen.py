"""The first screen: one answer, a line a method, what the marks rest on; the same in the file and in a terminal."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
from kits.records import KNOWN, items, record, small_board

from zobench.cli import screen as terminal
from zobench.report import compare, notes
from zobench.report.first import following, lines, page, words
from zobench.report.first.lines import Counts
from zobench.report.leaderboard import board, render
from zobench.report.sections import sections


def seen(records: Any, **asked: Any) -> page.Screen:
    (section,) = sections(records, known=KNOWN)
    verdicts = compare.judge(section)
    return page.screen(section, verdicts, notes.warnings(section, verdicts), page.BoardAsked(**asked))


def runs(estimator: str, *right: int, selector: str = "all", zero_shot: int = 50, **more: Any) -> list[Any]:
    return [
        record(estimator, selector, seed=seed, test=items(n), zero_shot=items(zero_shot), **more)
        for seed, n in enumerate(right)
    ]


def column(found: page.Screen, heading: str) -> dict[str, str]:
    named = {one.heading: one.cells for one in found.summary}
    return dict(zip(named["method / scope"], named[heading], strict=True))


def folded_away(made: str) -> str:
    return made.split("<details>", 1)[0]


def test_the_answer_is_the_first_paragraph_and_the_rest_is_folded():
    made = folded_away(render(small_board()))
    title, answer, *_ = made.split("\n\n")
    assert title == "# 8 methods · tiny · 2 tasks · 3 seeds"
    assert answer.startswith("**mezo / layer is best, 83.5 ± ") and "28/32 ok, 4 failed." in answer
    assert "### " not in made, "every further table is folded"
    assert render(small_board()).count("<details>") == render(small_board()).count("</details>") == 8


def test_one_method_says_what_it_gains_and_where():
    made = [r for task, n in (("a", 90), ("b", 52)) for r in runs("mezo", n, n, n, task=task, selector="layer")]
    found = seen(made)
    assert found.words.title == "mezo / layer · tiny · 2 tasks · 3 seeds"
    assert found.words.answer == "**71.0 on average, +21.0 over zero-shot; a step 2.0x as fast as full MeZO.** 6/6 ok."
    assert found.words.more == ("Better than zero-shot on 1 of 2 tasks; not told apart on b.",)
    assert found.words.following == ("`--selector all,layer`",)
    assert column(found, "▲=▼") == {"*zero-shot*": "-", "mezo / layer 20%": "1/1/0"}
    assert found.summary[0].cells == ("*zero-shot*", "mezo / layer 20%"), "what it is above stands there too"


def test_one_seed_claims_nothing():
    made = [*runs("mezo", 60), *runs("lozo", 95)]
    found = seen(made)
    assert "not compared with 1" in found.words.answer and "best" not in found.words.answer
    assert found.words.more[-1] == "One seed: nothing is told apart from luck, so do not quote."
    assert column(found, "#") == {"*zero-shot*": "-", "lozo / all 80%": "(1)", "mezo / all 80%": "(2)"}
    assert "`--seeds 0,1,2`" in found.words.following and not any("▲" in c for one in found.tasks for c in one.cells)


def test_ties_share_the_first_rank_and_the_beaten_have_their_place():
    made = [*runs("mezo", 90, 90, 90), *runs("lozo", 89, 91, 89), *runs("fzoo", 50, 50, 50), *runs("es", 49, 51, 49)]
    found = seen(made)
    ranks = column(found, "#")
    assert ranks["mezo / all 80%"] == ranks["lozo / all 80%"] == "1"
    assert (ranks["fzoo / all 80%"], ranks["es / all 80%"]) == ("3", "4")
    assert "not told apart from lozo / all, better than 2" in found.words.answer


def test_differences_to_full_mezo_are_paired_corrected_and_marked():
    made = [*runs("mezo", 60, 60, 60), *runs("lozo", 90, 90, 90), *runs("fzoo", 30, 30, 30)]
    (section,) = sections(made)
    verdicts = compare.judge(section)
    assert verdicts.control is not None and verdicts.control.estimator == "mezo"
    against = column(seen(made), "vs mezo/all")
    assert against["lozo / all 80%"] == "+30.0 ▲ p<.001" and against["fzoo / all 80%"] == "-30.0 ▼ p<.001"
    assert against["mezo / all 80%"] == "=" and against["*zero-shot*"] == "-"
    at = next(at for at, row in enumerate(section.rows) if row.estimator == "lozo")
    key = (compare.CONTROL, "average", at)
    assert verdicts.p[key] == verdicts.p["best", "average", id(verdicts.control)], "asked once, said twice"
    assert verdicts.tests == 3 + 2 + 2 + 1, "gains, bests of the task and of the average, and fzoo against mezo"


def test_what_full_mezo_is_better_than_is_worse_than_it():
    """Full MeZO is the best: what is asked of the best is asked of it, and read from the other side."""
    against = column(seen([*runs("mezo", 90, 90, 90), *runs("lozo", 60, 60, 60)]), "vs mezo/all")
    assert against["lozo / all 80%"] == "-30.0 ▼ p<.001"


def test_as_good_is_a_verdict_of_its_own():
    n = 2000
    same = [record(seed=s, test=items(1000, n)) for s in range(3)]
    twin = [record("lozo", seed=s, test=items(1001, n)) for s in range(3)]
    assert column(seen([*same, *twin]), "vs mezo/all")["lozo / all 80%"].startswith("+0.1 ≈ p")


def test_the_baseline_is_the_best_of_several_full_mezos():
    made = [*runs("mezo", 60, 60, 60), *runs("mezo", 70, 70, 70, settings={"eps": 0.01}), *runs("lozo", 65, 65, 65)]
    (section,) = sections(made)
    control = compare.judge(section).control
    assert control is not None and "0.01" in control.name


def test_tasks_are_counted_against_full_mezo_where_it_is_there():
    made = []
    for task, ours in (("a", 95), ("b", 60), ("c", 20)):
        made += runs("mezo", 60, 60, 60, task=task) + runs("lozo", ours, ours, ours, task=task)
    by_name = {line.row.name: line.counts for line in seen(made).lines}
    assert by_name == {"mezo / all": None, "lozo / all": Counts(1, 1, 1)}


def test_a_lost_seed_has_no_average_and_no_rank():
    made = [*runs("mezo", 60, 60, 60), *runs("lozo", 90, 90), record("lozo", seed=2, status="oom", error="x")]
    found = seen(made)
    assert "#" not in [one.heading for one in found.summary], "one method alone has an average"
    assert next(one.cells for one in found.summary if one.heading == "sst2")[-1] == "oom"
    assert "5/6 ok, 1 failed." in found.words.answer and "`--rerun failed` with more memory" in found.words.following


def test_what_is_next_can_change_what_is_shown():
    """A cell that diverged would do so again, and so would the reference that all are held against."""

    def of(status, seeds=(0, 1, 2), **more):
        facts = {"status": status, **({} if status == "ok" else {"error": "x"}), **more}
        return [record("lozo", "layer", seed=seed, **facts) for seed in seeds]

    def then(*records):
        return [one for one in seen(records).words.following if "compare" not in one]

    full = [record(seed=seed) for seed in range(3)]
    assert then(*full, *of("diverged")) == ["`--lr` below 0.0001"]
    nan = of("diverged")
    for one in nan:
        one["chosen"] = {"lr": 1e-3, "step": 1}
    assert then(*full, *nan) == then(*full, *of("diverged", lrs=())) == ["another `--dtype`"]
    assert then(*full, *of("timeout", (0,)), *of("error", (1,))) == [
        "`--rerun failed` with the errors mended, a longer `--timeout`"
    ]
    full_disk = of("error")
    for one in full_disk:
        one["retry"] = "full disk"
    assert then(*full, *of("interrupted")) == then(*full, *full_disk) == ["the same command again"]
    lost = [record(seed=seed, status="diverged", error="x", lrs=(0.5, 1.0)) for seed in range(3)]
    assert then(*lost, *of("ok")) == ["`--lr` below 0.5"], "what others are held against was tried"
    assert then(*of("ok")) == ["`--estimator mezo --selector all`"]
    assert then(*full, *of("ok", (0,)), *of("diverged", (1, 2))) == ["`--lr` below 0.0001"]
    one = [record(seed=0), *(record(seed=seed, status="diverged", error="x") for seed in (1, 2))]
    assert then(*one) == ["`--lr` below 0.0001", "`--seeds 3,4,5`"], "these seeds were tried"
    assert then(*one[:2]) == ["`--lr` below 0.0001", "`--seeds 0,1,2`"]


def test_what_is_gained_is_over_the_untouched_model_where_no_items_are_paired():
    (section,) = sections([*runs("mezo", 80, 90, zero_shot=60), *runs("zero_shot", 60)], known=KNOWN)
    gained = {row.estimator: lines._gained(row, section.tasks) for row in section.rows}
    assert gained == {"mezo": pytest.approx(0.25), "zero_shot": None}


def test_a_method_to_compare_is_one_word_of_a_shell():
    def of(method, **more):
        return following._spelt(SimpleNamespace(method=method, where="layer:1", **{"trains": True, **more}))

    assert [of("mezo"), of("mezo q=2"), of("zero_shot", trains=False)] == [
        "mezo/layer:1",
        "'mezo q=2/layer:1'",
        "zero_shot",
    ]


def test_warnings_are_counted_and_stand_in_full_below():
    made = [r for k in range(12) for r in runs(f"m{k}", 60, 60, 60, lrs=(1e-3,))]
    first, rest = render(made).split("<sub>", 1)
    assert "one rate tried 12" in first and first.count("only one learning rate") == 0
    assert rest.count("only one learning rate was tried") == 12


def test_failures_alike_are_one_line():
    made = [*runs("mezo", 60, 60, 60)]
    made += [record("lozo", task=t, seed=s, status="oom", error="no room") for t in ("a", "b") for s in range(3)]
    lines = [line for line in render(made).splitlines() if "no room" in line]
    assert [[c.strip() for c in line.strip("|").split("|")] for line in lines] == [
        ["lozo", "all", "6", "a, b", "0, 1, 2", "oom", "no room"]
    ]


def test_many_methods_are_cut_and_said_so():
    made = [r for k in range(25) for r in runs(f"m{k:02}", 60, 60, 60)]
    found = seen(made)
    assert len(found.summary[0].cells) == page.MOST and found.hidden == 16
    assert [len(one.cells) for one in found.rest] == [16] * len(found.rest)
    first, rest = render(made).split("<details><summary>16 more methods</summary>")
    assert "m08 / all" in first and "m09 / all" not in first and "m24 / all" in rest.split("</details>")[0]
    assert seen(made, most=None).hidden == 0


def test_no_line_is_spent_on_saying_that_one_is_hidden():
    def of(n: int) -> page.Screen:
        return seen([r for k in range(n) for r in runs(f"m{k:02}", 60, 60, 60)])

    assert of(10).hidden == 0 and len(of(10).summary[0].cells) == page.FITS, "with the untouched model's"
    assert of(11).hidden == 2


def test_full_mezo_is_shown_wherever_it_stands():
    made = [r for k in range(25) for r in runs(f"m{k:02}", 60, 60, 60)] + runs("mezo", 55, 55, 55)
    names = seen(made).summary[1].cells
    assert names[-1] == "mezo / all 80%" and len(names) == page.MOST and names[-2] == "m07 / all 80%"


def test_scores_by_task_stand_open_where_they_fit():
    def made(n: int) -> str:
        return render([r for k in range(n) for t in ("a", "b") for r in runs(f"m{k:02}", 60, 60, 60, task=t)])

    assert "| test score" in folded_away(made(4)), "and the untouched model's line"
    many = made(5)
    assert "| test score" not in folded_away(many) and "Next: " in folded_away(many)
    assert "| test score" in many.split("<details><summary>Scores by task</summary>")[1].split("</details>")[0]


def test_several_sections_have_a_screen_each():
    made = board([*runs("mezo", 60), *runs("lozo", 60, protocol={"steps": 7})], split_protocols=True)
    assert made.markdown.startswith("# zobench leaderboard\n\n## mezo / all · tiny") and len(made.screens) == 2


# ---- in a terminal


def test_the_terminal_shows_the_sections_of_the_run_that_ended(capsys):
    """Of a folder with records of another protocol, whatever the order of its sections."""
    short, long = runs("lozo", 60, protocol={"steps": 7}), runs("mezo", 60)
    both = board([*long, *short], split_protocols=True)
    for own, other in ((short, "mezo"), (long, "lozo")):
        terminal.show(both, {own[0]["id"]})
        said = capsys.readouterr().out
        assert said.startswith("Of the 2 boards of this folder the 1 of this run:") and f"{other} / all" not in said
    for of in (None, {"of none"}):
        terminal.show(both, of)
        said = capsys.readouterr().out
        assert "mezo / all" in said and "lozo / all" in said and "Of the" not in said


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_shows_what_fits_and_ends_with_the_answer(width: int):
    made = [r for task in ("boolq", "copa", "multirc", "record", "rte", "squad", "wsc") for r in small(task)]
    lines = terminal.lines(seen(made), width)
    assert max(map(len, lines)) <= width and lines[0].startswith("3 methods · tiny · 7 tasks")
    text = "\n".join(lines)
    assert "*" not in text and "<sub>" not in text
    assert "lozo / all is best" in "\n".join(lines[-4:]), "the answer is last, where the cursor is"
    assert text.count("mezo / all") >= 3 and all(task in text for task in ("boolq", "wsc"))
    assert ("(wider: " in text) == (width < 110)


def small(task: str) -> list[Any]:
    return runs("mezo", 60, 60, 60, task=task) + runs("lozo", 90, 90, 90, task=task) + runs("sgd", 95, task=task)


def test_a_terminal_is_told_of_unreadable_records(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda fallback: os.terminal_size(fallback))
    terminal.show(board(runs("mezo", 60), problems=["cells/x.json: an empty file \x1b[2J"]))
    out = capsys.readouterr().out
    assert "is not in this board: cells/x.json: an empty file \\x1b[2J" in out


def test_references_alone_say_their_scores():
    found = seen([record("zero_shot", test=items(50), zero_shot=items(50)), record("adamw", test=items(90))])
    assert found.words.answer == "**References alone: zero_shot 50.0, adamw / all 90.0.** 2/2 ok."
    assert seen(runs("zero_shot", 50)).words.title == "zero-shot · tiny · sst2 · 1 seed"


def test_of_many_methods_references_leave_room_for_the_others():
    made = [r for k in range(25) for r in runs(f"m{k:02}", 60, 60, 60)]
    made += [*runs("adamw", 90, 90, 90), *runs("sgd", 80, 80, 80), *runs("icl", 40, 40, 40)]
    names = seen(made).summary[1].cells
    assert names[:3] == ("*zero-shot*", "*adamw / all* 80%", "m00 / all 80%") and len(names) == page.MOST


def varied() -> list[Any]:
    """One method on two tasks and three seeds, of which each cell moved, took and held another part."""
    made = [r for task, n in (("a", 90), ("b", 60)) for r in runs("mezo", n, n, n, task=task, selector="layer")]
    for k, one in enumerate(made):
        one["scope"]["fraction"] = 0.1 + 0.05 * k
        one["memory"]["peak_bytes"] = (k + 1) * 2**30
        one["time"]["step_s"] = 0.01 * (k + 1)
        one["speed"]["ratio"] = 2.0 ** (k + 1)
    return made


def test_the_numbers_of_a_line_are_those_of_all_its_cells():
    found = seen(varied())
    (line,) = found.lines
    assert line.share == pytest.approx((0.1, 0.35)) and line.peak_bytes == 6 * 2**30
    assert (line.average, line.gained, line.forwards) == (pytest.approx(0.75), pytest.approx(0.25), 200)
    assert (line.step_s, line.speedup) == (pytest.approx(0.035), pytest.approx(2**3.5))
    shown = {one.heading: one.cells[-1] for one in found.summary}
    assert shown["method / scope"] == "mezo / layer 10-35%"
    assert {heading: shown[heading] for heading in ("GiB", "speed-up", "ms/step", "gain", "forwards")} == {
        "GiB": "6",
        "speed-up": "11.31x",
        "ms/step": "35.0",
        "gain": "+25.0",
        "forwards": "200",
    }


def test_ps_are_short_and_never_nought():
    said = ["<.001", "=.001", "=.005", "=.25", "=1"]
    assert [page._p(p) for p in (0.0009, 0.001, 0.005, 0.25, 0.999)] == said


@pytest.mark.parametrize(("right", "said"), [(95, "95.0, 5.0 points more"), (80, "80.0, 10.0 points less")])
def test_gradients_are_further_or_not_so_far(right, said):
    found = seen([*runs("mezo", 90, 90, 90), *runs("adamw", right, right, right)])
    assert f"Gradients (adamw / all) reach {said}." in found.words.more


def test_the_seeds_of_an_answer_are_those_of_its_poorest_task():
    made = [*runs("mezo", 60, 61, 62, task="a"), *runs("mezo", 60, task="b")]
    assert "One seed: nothing is told apart from luck, so do not quote." in seen(made).words.more


def test_where_no_average_is_whole_an_answer_rests_on_the_seeds_of_the_first():
    def line(*done: int) -> Any:
        return SimpleNamespace(row=SimpleNamespace(entries={n: SimpleNamespace(done=range(n)) for n in done}))

    nothing: Any = SimpleNamespace(best={"average": None})
    assert words._seeds(nothing, [line(3, 2, 0), line(1)]) == 2 and words._seeds(nothing, []) == 0


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, ""),
        ((1.0, 1.0), ""),
        ((0.2, 0.2), " 20%"),
        ((0.0123, 0.35), " 1.2-35%"),
        ((0.1, 1.0), " 10-100%"),
        ((0.996, 0.996), " 99.6%"),
    ],
)
def test_a_share_is_said_of_what_does_not_move_all_in_every_cell(share, said):
    assert page._share(SimpleNamespace(share=share)) == said


def test_the_control_is_not_said_to_be_as_fast_as_itself():
    row, other = object(), object()
    best: Any = SimpleNamespace(control=None, speedup=1.5, row=row)
    verdicts: Any = [SimpleNamespace(control=one) for one in (row, other)]
    said = [words._costs(best, one) for one in verdicts]
    assert said == [[], ["A step 1.5x as fast as full MeZO."]]


@pytest.mark.parametrize(
    ("peaks", "unit"),
    [([], ("MiB", 2**20)), ([None, 10**9 - 1], ("MiB", 2**20)), ([1, 10**9], ("GiB", 2**30))],
)
def test_memory_is_told_in_the_unit_of_the_largest(peaks, unit):
    assert page._unit([SimpleNamespace(peak_bytes=peak) for peak in peaks]) == unit
