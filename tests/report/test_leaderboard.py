"""The board: the same bytes for the same records, every failure shown, every warning given, the paper kept apart."""

from __future__ import annotations

import cProfile
import random
from pathlib import Path
from typing import Any

import pytest
from kits.records import KNOWN, items, record, small_board, trial

from zobench.errors import ZobenchError
from zobench.report import paper
from zobench.report.leaderboard import render
from zobench.report.sections import sections
from zobench.report.summary import summarise

GOLDEN = Path(__file__).with_name("board.md")
"""Look at a change of it as a reader would; then write it anew: python tests/report/test_leaderboard.py"""


def table(board: str, title: str, which: int = 0) -> dict[str, list[str]]:
    """The rows of a table under a heading: `method / selector` -> its other cells; "" -> the headings."""
    part = board.split(f"\n### {title}", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]
    tables = [block for block in part.split("\n\n") if block.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in tables[which].splitlines()]
    return {"": rows[0][2:]} | {f"{row[0]} / {row[1]}": row[2:] for row in rows[2:]}


def warnings(board: str) -> list[str]:
    after = board.split("**Warnings.**\n\n", 1)
    return [] if len(after) == 1 else [line[2:] for line in after[1].split("\n\n", 1)[0].splitlines()]


def test_the_golden_board():
    assert render(small_board()) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("seed", range(6))
def test_the_order_of_the_records_changes_no_byte(seed: int):
    made = small_board()
    random.Random(seed).shuffle(made)
    assert render(made, paper=True) == render(small_board(), paper=True)


def test_a_board_has_no_dates_no_folders_and_no_empty_cells():
    board = render(small_board(), paper=True)
    assert "2026-01-01" not in board and "/home" not in board
    for line in board.splitlines():
        if line.startswith("|"):
            assert all(cell.strip() for cell in line.strip("|").split("|")), line


@pytest.mark.parametrize("status", ["diverged", "oom", "error", "interrupted"])
def test_a_failed_cell_is_shown_as_what_it_is(status: str):
    board = render([record("mezo"), record("lozo", status=status, error="RuntimeError: a | b <c>")])
    scores = table(board, "Test score")
    assert scores["lozo / all"] == [status, "-", "-", "-"]
    assert f"| {status} " in board.split("### Failed cells")[1]
    assert "RuntimeError: a \\| b &lt;c>" in board


def test_failed_and_missing_seeds_are_counted_beside_the_mean():
    made = [record(seed=0), record(seed=1), record(seed=2, status="diverged", error="x"), record("lozo")]
    scores = table(render(made), "Test score")
    assert scores["mezo / all"][0].endswith(" (1 of 3 diverged)") and scores["mezo / all"][1:] == ["-", "-", "-"]
    assert scores["lozo / all"][0].endswith("¹ (2 of 3 missing)") and scores["lozo / all"][1:] == ["-", "-", "-"]
    assert "lozo / all: seeds that others have are missing on sst2, which counts as a failure." in warnings(
        render(made)
    )
    lost = [record(seed=s, status=x, error="x") for s, x in enumerate(["oom", "oom", "error"])]
    assert table(render(lost), "Test score")["mezo / all"][0] == "1 of 3 error, 2 of 3 oom"


def test_a_board_of_failures_alone():
    board = render([record(status="oom", error="out of memory")])
    assert table(board, "Test score")["mezo / all"] == ["oom", "-", "-", "-"]
    assert "1 record, 0 ok, 1 failed" in board


def test_intervals_are_over_seeds_and_items():
    several = [record(seed=s, test=x) for s, x in enumerate((70, 80, 90))]
    one = render(several[1:2])
    assert table(one, "Test score")["mezo / all"][0] == "80.0 ± 8.0¹"  # 1.98 times 4.02
    assert "¹: one seed, over test items alone" in one
    both = render([*several, *[record("lozo", seed=s, test=x) for s, x in enumerate((50, 50, 50))]])
    assert "¹" not in both
    (section,) = sections(several)
    effect = section.rows[0].entry("sst2").effect
    assert effect is not None and effect.half() > 0.15, "seeds are ten points apart"
    assert table(both, "Test score")["mezo / all"][0] == f"80.0 ± {100 * effect.half():.1f}"
    assert table(both, "Spread")["mezo / all"] == ["10.0, 3.9 (3 × 100)"]
    assert table(both, "Spread")["lozo / all"] == ["0.0, 5.0 (3 × 100)"]


def test_averages_and_gains():
    made = [record(task=t, test=x, zero_shot=z) for t, x, z in (("a", 80, 50), ("b", 60, 70))]
    board = render(made)
    scores = table(board, "Test score")
    assert scores[""] == ["a", "b", "average", "gain", "without a task"]
    assert scores["mezo / all"][:3] == ["80.0 ± 8.0¹", "60.0 ± 9.8¹", "70.0 ± 6.3¹"]
    assert scores["mezo / all"][3].startswith("+10.0 ± ") and scores["mezo / all"][4] == "-10.0 to +30.0"
    assert scores["*zero-shot* / -"] == ["50.0 ± 10.0", "70.0 ± 9.1", "60.0 ± 6.7", "-", "-"], "from the cells' own"
    assert [cell.split(" ")[0] for cell in table(board, "Gain over zero-shot")["mezo / all"]] == ["+30.0", "-10.0"]


def test_gains_that_hold_are_marked():
    made = [record(seed=s, test=items(80 + s), zero_shot=items(50)) for s in range(3)]
    made += [record("lozo", seed=s, test=items((99, 50, 50)[s]), zero_shot=items(50)) for s in range(3)]
    made += [record("fzoo", seed=s, test=items(20), zero_shot=items(50)) for s in range(3)]
    gains = table(render(made), "Gain over zero-shot")
    assert gains["mezo / all"][0].endswith(" ▲") and gains["fzoo / all"][0].endswith(" ▼")
    assert gains["lozo / all"][0].startswith("+16.3 ± ") and gains["lozo / all"][0][-1].isdigit()


def test_other_metrics_than_accuracy_are_named():
    assert table(render([record(task="squad", metric="f1")]), "Test score")[""][0] == "squad (f1)"


def test_bold_is_for_what_holds_and_nothing_is_called_a_tie():
    made = [*well(test=items(60)), *well(test=items(90), estimator="lozo"), *well(test=items(99), estimator="adamw")]
    board = render(made)
    assert table(board, "Test score")["lozo / all"][0].startswith("**90.0 ± ") and "sst2: lozo / all is best" in board
    assert "| **99" not in board
    close = render([*well(test=items(60)), *well(test=items(62), estimator="lozo")])
    assert "| **62" not in close
    assert "sst2: lozo / all has the highest score; not told apart from mezo / all." in close
    assert "tie" not in close.lower().replace("ties", "")
    alone = render(well())
    assert "| **80" not in alone and "Best by column" not in alone
    few = render([record(test=items(10)), record("lozo", test=items(99))])
    assert "| **99" not in few and "sst2: lozo / all has the highest score; 3 seeds are needed for a verdict." in few
    assert few.count("sst2: lozo / all has the highest score") == 1, "and no verdict beside it"


def test_many_rivals_are_counted_not_listed():
    made = [one for k in range(9) for one in well(test=items(60 + k // 8), estimator=f"m{k}")]
    assert (
        "sst2: m8 / all has the highest score; not told apart from m0 / all, m1 / all, m2 / all and 5 others."
        in render(made)
    )


def test_what_the_correction_goes_over_is_said():
    made = [*well(test=items(60)), *well(test=items(90), estimator="lozo")]
    assert "Holm-corrected over all 4 comparisons of this section" in render(made)
    assert "every gain), 2 at most" in render(made, family="claim")
    assert "the comparisons of one column, 2 at most" in render(made, family="column")


def test_costs():
    made = [record("mezo", task=t, ms=ms, speedup=x) for t, ms, x in (("a", 10, 2.0), ("b", 30, 8.0))]
    made[0]["memory"]["peak_bytes"] = 5 * 2**30
    board = render(made)
    cost = dict(zip(*(table(board, "Cost")[k] for k in ("", "mezo / all")), strict=True))
    assert cost == {
        "tasks": "2/2",
        "parameters": "4,000",
        "of model": "80 %",
        "layers": "0-3",
        "ms per step": "20.0",
        "forward": "15.0",
        "perturb": "3.33",
        "update": "1.67",
        "speedup": "4.00x",
        "peak memory": "5.00 GiB",
        "weights": "1.0 MiB",
        "state": "4.0 KiB",
    }
    assert table(board, "Cost", 1)["mezo / all"] == [
        "2.00x: 20.0 to 10.0 (7.50 + 1.67 + 0.83)",
        "8.00x: 240 to 30.0 (22.5 + 5.00 + 2.50)",
    ]


def test_without_speed_measurements_there_is_no_speed_table():
    board = render([record(speedup=None)])
    assert table(board, "Cost")["mezo / all"][8] == "-" and "Speed-up over full-scope MeZO" not in board


def test_forwards_by_purpose():
    made = [record(seed=0), record(seed=1)]
    made[0]["forwards"] |= {"probe": 10, "novel": 1}
    forwards = table(render(made), "Forward passes")
    assert dict(zip(forwards[""], forwards["mezo / all"], strict=True)) == {
        "train": "600",
        "eval": "60",
        "probe": "5",
        "speed": "20",
        "novel": "0",
    }


def test_layers_that_differ_by_task_are_shown_by_task():
    made = [record("mezo", "sweep", task=t) for t in ("a", "b")]
    made[0]["scope"]["layers"] = [3]  # type: ignore[index]
    board = render([*made, record("mezo", "all", task="a")])
    assert table(board, "Layers") == {"": ["a", "b"], "mezo / sweep": ["3", "0"]}
    assert "### Layers" not in render(small_board())


def test_settings_and_what_auto_became():
    made = [record("mezo"), record("lozo", run={"noise": "official"}, settings={"rank": 2})]
    made[0]["engine"] = {  # type: ignore[typeddict-item]
        "engine": "flat",
        "restore": "exact",
        "noise": "per_tensor",
    }
    board = render(made)
    assert "Of all rows: dtype=float32, engine=auto, restore=auto." in board
    found = table(board, "Settings")
    assert found[""] == ["estimator settings", "selector settings", "noise", "auto became"]
    assert found["mezo / all"] == ["eps=0.001", "-", "per_tensor", "engine=flat, restore=exact"]
    assert found["lozo / all"] == ["eps=0.001, rank=2", "-", "official", "-"]


def test_learning_rates_with_their_grid_and_its_ends():
    upper, failed = record(task="a", lr=1e-2), record(task="b", lr=1e-4)
    failed["trials"] = [trial(1e-4), trial(1e-3), trial(1e-2, "diverged")]  # type: ignore[typeddict-item]
    board = render([upper, failed])
    assert table(board, "Learning rates")["mezo / all"] == ["0.0001, 0.001, 0.01", "0.01 ↑", "0.0001 ↓ (1 diverged)"]
    assert "mezo / all: the chosen learning rate is the upper end of its grid on a: widen the grid." in warnings(board)
    assert "mezo / all: the chosen learning rate is the lower end of its grid on b: widen the grid." in warnings(board)


def well(estimator: str = "mezo", **changes: Any) -> Any:
    return [record(estimator, seed=s, **changes) for s in range(3)]


def test_a_board_without_a_fault_has_no_warnings():
    assert warnings(render(well())) == []


def test_what_asks_for_care_is_warned_of():
    assert warnings(render(well(test=50, zero_shot=60))) == ["mezo / all: does not beat zero-shot on sst2."]
    assert warnings(render(well(test=items(50), zero_shot=items(50)))) == [
        "mezo / all: does not beat zero-shot on sst2."
    ]
    (weak,) = warnings(render(well(test=items(53), zero_shot=items(50))))
    assert weak == "mezo / all: its gain over zero-shot is not told apart from none on sst2."
    assert warnings(render(well(lrs=(1e-3,)))) == ["mezo / all: only one learning rate was tried, 0.001."]
    mixed = [
        record(task=task, seed=seed, lrs=(lr,), lr=lr, test=90)
        for task, lr in (("a", 1e-3), ("b", 0.1))
        for seed in (0, 1)
    ]
    assert "mezo / all: only one learning rate was tried in each cell, 0.001, 0.1." in warnings(render(mixed))
    (few,) = warnings(render(well()[:1]))
    assert few == (
        "Some scores rest on 1 seed: what another seed would give is not seen at all, so nothing is marked there; "
        "give 3 or more."
    )
    moved = [*well(), record("lozo", device="GPU 1"), *well(task="a")]
    assert any("from different machines" in w and "GPU 1 (1 record)" in w for w in warnings(render(moved)))
    drift = [*well(), *[record("lozo", seed=s, zero_shot=52) for s in range(3)]]
    (differs,) = warnings(render(drift))
    assert "scored differently in different records on sst2 (by up to 2.0 points)" in differs


def reported(*seeds: int, tuned_on: tuple[int, ...] = (), estimator: str = "mezo", **changes: Any) -> Any:
    made = [record(estimator, seed=s, test=items(80), lrs=(1e-3,), **changes) for s in seeds]
    for one in made if tuned_on else ():
        one["role"] = {"seed": "report", "tuned_on": list(tuned_on), "rate_from": ["x"]}
    return made


def tuning(*seeds: int, estimator: str = "mezo", **changes: Any) -> Any:
    made = [record(estimator, seed=s, test=items(20), **changes) for s in seeds]
    for one in made:
        one["role"] = {"seed": "tune"}
    return made


def test_a_seed_that_chose_the_rate_and_is_reported_is_told_of():
    found = warnings(render([record(seed=0, test=items(80)), *reported(1, 2)]))
    assert any(w.startswith("Seed 0 chose the learning rate and is reported with the seeds that ran it") for w in found)
    assert not any("flatters" in w for w in warnings(render(well(test=items(80))))), "each chose its own"


def test_tuning_seeds_are_not_reported():
    board = render([*tuning(10, 11), *reported(0, 1, 2, tuned_on=(10, 11))])
    assert table(board, "Test score")["mezo / all"][0].startswith("80.0 ± ") and warnings(board) == []
    assert "Seeds: 0, 1, 2. Learning rates were chosen on seeds 10, 11, which are not reported." in board
    assert "3 records, 3 ok, 0 failed; 2 more of tuning seeds" in board
    with pytest.raises(ZobenchError, match="those of tuning seeds are not reported"):
        render(tuning(10, 11))


def test_a_board_that_mixes_roles_says_so():
    board = render([*tuning(10), *reported(0, 1, 2, tuned_on=(10,)), *well("lozo", test=items(70))])
    (mixed,) = [w for w in warnings(board) if w.startswith("Roles of seeds are mixed")]
    assert (
        "learning rates of mezo / all were chosen on seeds that are not reported, those of lozo / all were not" in mixed
    )
    lost = render([*tuning(10, estimator="fzoo"), *reported(0, 1, 2, tuned_on=(10,))])
    assert "fzoo / all: has records of tuning seeds alone on sst2." in warnings(lost)
    for made in (lost, render([*reported(0, 1, 2, tuned_on=(10,)), record("zero_shot", seed=0)]), render(well())):
        assert not [w for w in warnings(made) if w.startswith("Roles")], "all that trains was tuned alike"


def test_splits_of_one_run_stand_in_one_table_and_others_do_not():
    made = []
    for split in (0, 5):
        for one in well(test=items(80), protocol={"data_seed": split}):
            one["role"] = {"seed": "report", "splits": [0, 5]}
            made.append(one)
    board = render(made)
    assert "data_seed=[0, 5]" in board and table(board, "Spread")["mezo / all"] == ["0.0, 4.0 (6 × 100)"]
    (section,) = sections(made)
    effect = section.rows[0].entry("sst2").effect
    assert effect is not None and len(effect.tasks[0].splits) == 2 and effect.items == 200
    with pytest.raises(ZobenchError, match="data_seed is 0 in 3 records"):
        sections([*well(protocol={"data_seed": 0}), *well("lozo", protocol={"data_seed": 5})])


def test_departures_and_the_source_of_the_data_are_said():
    source = {"nature": "synthetic", "about": "made *up*\n## here"}
    board = render([{**record(data="ours"), "data": {"source": source}}])
    assert "The data are **synthetic**: made " in board and "*up*" not in board and "\n## here" not in board
    assert "The data are from the source `ours`." in render([record(data="ours")])
    assert "**local folder** and may not be the official splits" in render([record(data="folder")])
    one = record(task="wsc")
    one["data"] = {"notes": {"train": "454 instead of 1000: the pool is smaller"}}
    board = render([one])
    assert "- wsc: train: 454 instead of 1000: the pool is smaller" in board
    assert "not the paper's sizes: steps 100 (paper: 10000)" in board
    assert "num_dev 16 (paper: 500; 100 for wsc, cb, copa)" in render([record(protocol={"num_dev": 16})])
    sizes = {"steps": 10000, "eval_every": 2000, "num_test": 1000}
    assert "Departures" not in render([record(protocol=sizes)])


def test_protocols_get_their_own_sections_only_if_asked():
    made = [record(), record(protocol={"steps": 20})]
    with pytest.raises(ZobenchError, match="--split-protocols"):
        render(made)
    board = render(made, split_protocols=True)
    assert "protocol mezo-1 (steps=100)" in board and "protocol mezo-1 (steps=20)" in board


def test_no_records_no_board():
    with pytest.raises(ZobenchError, match="no records"):
        render([])


def test_columns_of_plugins_see_a_rows_records_and_cannot_break_a_board():
    made = [record(seed=s, task=t) for s in (1, 0) for t in ("b", "a")]
    seen: list[list[tuple[str, int]]] = []

    def cells(records: list[Any]) -> str:
        seen.append([(r["cell"]["task"], r["cell"]["seed"]) for r in records])
        return f"{len(records)} | cells"

    board = render([*made, record("lozo", task="a")], columns={"cells": cells, "broken": lambda records: 1 / 0})  # type: ignore[dict-item]
    assert table(board, "Cost")[""][-2:] == ["broken", "cells"]
    assert "4 \\| cells" in board
    assert [("a", 0), ("a", 1), ("b", 0), ("b", 1)] in seen
    assert warnings(board).count("column 'broken' failed: ZeroDivisionError: division by zero") == 1


def test_unreadable_records_are_on_the_board():
    line = "cells/x.json: an empty file; delete it"
    assert f"- {line}\n" in render([record()], problems=[line])


# ---- the paper's numbers


def test_papers_numbers_are_the_printed_ones():
    scores = {t["table"]: t for t in paper.numbers()["scores"]}
    assert (
        scores["1"]["rows"][4]["method"] == "MeZO dominant layer"
        and scores["1"]["rows"][4]["scores"]["average"] == 72.44
    )
    assert scores["2"]["rows"][4]["scores"]["cb"] == 96.43
    for number in ("1", "2", "3", "10"):
        for row in scores[number]["rows"]:
            own = [v for task, v in row["scores"].items() if task != "average"]
            assert sum(own) / len(own) == pytest.approx(row["scores"]["average"], abs=0.011), (number, row["method"])
    times = {row["method"]: row["tasks"] for row in paper.numbers()["speed"]["rows"]}
    for task, printed in paper.numbers()["speed"]["printed_speedup"]["tasks"].items():
        gain = times["MeZO full"][task]["total_s"] / times["MeZO dominant layer"][task]["total_s"]
        assert gain == pytest.approx(printed, abs=0.006), task
        for phases in (rows[task] for rows in times.values()):
            parts = sum(phases[k] for k in ("forward_s", "perturb_s", "update_s"))
            assert parts == pytest.approx(phases["total_s"], rel=2e-3)
    assert [len(t["layers"]) for t in paper.numbers()["layerwise"]] == [32, 32]


@pytest.mark.parametrize("name", ["meta-llama/Llama-2-7b-hf", "Llama-2-7b", "LLaMA2-7B", "models\\llama2-7b"])
def test_models_are_known_by_their_names(name: str):
    assert paper.model_key(name) == paper.model_key("LLaMA2-7B")


@pytest.mark.parametrize("name", ["Llama-2-7b-chat-hf", "Llama-2-13b-hf", "Qwen3-8B-Base"])
def test_kin_is_not_the_same_model(name: str):
    assert paper.model_key(name) not in {paper.model_key(m) for m in paper.models()}


def paper_table(board: str, title: str) -> dict[str, list[str]]:
    part = board.split(title, 1)[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
    return {f"{i} {row[0]}": row[1:] for i, row in enumerate(rows[2:])}


def test_the_papers_numbers_stand_beside_ours_for_its_models():
    nine = ("sst2", "rte", "cb", "boolq", "wsc", "multirc", "copa", "squad", "drop")
    made = [record(task=t, test=90, model="meta-llama/Llama-2-7b-hf") for t in nine]
    made += [record("mezo", "first_outlier", "sst2", test=91, model="meta-llama/Llama-2-7b-hf")]
    board = render(made, paper=True)
    assert "### The paper's numbers for LLaMA2-7B, with ours under them" in board
    rows = paper_table(board, "Its table 1:")
    assert rows["2 paper: MeZO full"][:2] == ["92.32", "65.34"] and rows["2 paper: MeZO full"][-1] == "71.87"
    assert rows["3 ours: mezo / all"] == ["90.0"] * 10
    assert rows["4 ours - paper"][:2] == ["-2.3", "+24.7"] and rows["4 ours - paper"][-1] == "+18.1"
    assert rows["5 inside our 95 %"][:2] == ["yes", "no"], "90.0 ± 6.0 has 92.32 in it, and not 65.34"
    assert rows["8 ours: mezo / first_outlier"] == ["91.0", *["-"] * 9]
    assert rows["9 ours - paper"] == ["+0.2", *["-"] * 9]
    other = board.split("<details><summary>The paper's numbers for other models</summary>")[1].split("</details>")[0]
    assert "for Qwen3-8B" in other and "**Another model than those above**" in other and "LLaMA2" not in other
    assert "4.52x: 192 (170 + 16.3 + 6.40)" in board


def of_blocks(*blocks: int, selector: str, estimator: str = "mezo", **changes: Any) -> Any:
    one = record(estimator, selector, model="LLaMA2-7B", **changes)
    one["scope"]["layers"] = list(blocks)  # type: ignore[index]
    return one


def test_a_row_of_the_paper_is_found_by_what_moves():
    made = [
        of_blocks(1, selector="layer:1", task="copa", test=86),
        of_blocks(1, 30, selector="layer:1+layer:30", task="copa", test=85),
        of_blocks(5, selector="layer:5", task="copa", test=84),
        of_blocks(1, selector="outlier_channels:mlp", task="copa", test=83),
        of_blocks(7, selector="layer:7", estimator="adamw", task="copa", test=82),
    ]
    board = render(made, paper=True, known=KNOWN)
    for title in ("Its table 1:", "Its table 3:", "Its table 5:", "Its table 6:"):
        assert any("ours: mezo / layer:1" in name for name in paper_table(board, title)), title
    five, six = (paper_table(board, f"Its table {n}:") for n in (5, 6))
    names = [name.partition(" ")[2] for name in five]
    assert names.index("ours: mezo / layer:1+layer:30") == names.index("paper: layers 1+30") + 1
    assert [row for name, row in six.items() if "outlier_channels:mlp" in name] == [["-", "83.0"]]
    layers = paper_table(board, "Its table 12, MeZO on each layer alone:")
    assert len([name for name in layers if "paper: layer " in name]) == 32
    assert [row for name, row in layers.items() if name.endswith("layer:5")] == [["-", "84.0", "-"]]
    gradients = paper_table(board, "Its table 11, FO AdamW on each layer alone:")
    assert [row for name, row in gradients.items() if "ours: " in name] == [["-", "82.0", "-"]]
    assert "| ours: mezo / layer:1" in board.split("milliseconds per step")[-1], "speeds, too"


def test_the_papers_numbers_touch_nothing_of_ours():
    plain, both = render(small_board()), render(small_board(), paper=True)
    ours, foot = plain.rsplit("\n\n---\n\n", 1)
    assert both.startswith(ours) and both.endswith(foot)
    added = both[len(ours) :].removesuffix(foot)
    assert "LLaMA2-7B" in added and "Qwen3-8B" in added
    assert not any("**" in line for line in added.splitlines() if line.startswith("|")), "never bold"


# ---- one line, and speed


def test_a_record_in_a_line():
    assert summarise(record(test=91, zero_shot=58)) == (
        "sst2 mezo/all seed 0: accuracy 91.0 ± 5.7 (zero-shot 58.0), lr 0.001 at step 75, 12.0 ms a step, 2.00x"
    )
    zero = record("zero_shot", test=58, zero_shot=58, speedup=None)
    assert summarise(zero) == "sst2 zero_shot seed 0: accuracy 58.0 ± 9.8"
    assert summarise(record(status="oom", error="out of\nmemory")) == "sst2 mezo/all seed 0: oom: out of memory"


def test_a_board_takes_work_in_proportion_to_its_records():
    def calls(tasks):
        rng = random.Random(0)
        made = [
            record(f"m{i}", task=f"t{t}", seed=s, test=items(rng.randint(50, 90), 100, (i, t, s)), metric="accuracy")
            for i in range(6)
            for t in range(tasks)
            for s in range(3)
        ]
        profile = cProfile.Profile()
        board = profile.runcall(render, made)
        assert f"{18 * tasks} records, {18 * tasks} ok" in board
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(8) < 5 * calls(2)


if __name__ == "__main__":
    GOLDEN.write_text(render(small_board()), encoding="utf-8")


def test_methods_that_are_not_verified_are_named():
    guessed = well()
    for one in guessed:
        one["unverified"] = ["mezo", "layer"]
    assert "Not verified, a detail is a guess (`zobench show` says which): layer, mezo." in render(guessed)
    assert "Not verified" not in render(well())


def test_a_column_gets_copies_and_may_raise_whatever_it_likes():
    class Odd(BaseException):
        pass

    def better(records):
        for r in records:
            r["metrics"]["test"]["value"] = 1.0
            r["cell"]["estimator"] = "mine"
        return "1"

    def odd(records):
        raise Odd("no")

    made = [record("mezo"), record("lozo")]
    plain = render(made, columns={"a": lambda records: "1"})
    assert render(made, columns={"a": better}) == plain
    board = render(made, columns={"odd": odd, "none": lambda records: None, "exits": lambda records: exit(3)})
    for says in (
        "'odd' failed: Odd: no",
        "'none' failed: TypeError: it returned NoneType",
        "'exits' failed: SystemExit",
    ):
        assert says in board
