"""Parts of the dominant block and sums with it, held against it alone: known answers on made-up records."""

import json

import pytest
from kits.records import KNOWN, items, record

from zobench import ZobenchError
from zobench.cli import main
from zobench.report import around, around_page, stats, store
from zobench.report.sections import sections

SEEDS = (0, 1, 2)
NONE = [0.0] * 100


def cell(selector, right, layers, parameters, task="sst2", seed=0, zero_shot=NONE, **more):
    """A cell that moved so many parameters of these blocks, with the first `right` of a hundred items right."""
    made = record(selector=selector, task=task, seed=seed, test=items(right), zero_shot=zero_shot, **more)
    made["scope"] = {**made["scope"], "layers": layers, "parameters": parameters}
    return made


def board(task="sst2", seeds=SEEDS):
    """Block 2 gains 80 points, its MLP 60, its top channels 40, blocks 2 and 4 together 81, all weights 70."""
    of = {
        "first_outlier": (80, [2], 1000),
        "outlier_channels:mlp": (60, [2], 600),
        "outlier_channels:top": (40, [2], 10),
        "first_outlier+layer:4": (81, [2, 4], 2000),
        "layer:4": (10, [4], 1000),
        "all_but:first_outlier": (75, [0, 1, 3, 4], 4000),
        "all": (70, [0, 1, 2, 3, 4], 5000),
    }
    return [cell(name, *facts, task=task, seed=seed) for name, facts in of.items() for seed in seeds]


def section(made):
    (only,) = sections(made, known=KNOWN)
    return only


def test_parts_are_what_moves_less_of_the_same_block():
    (group,) = around.gathered(section(board()), KNOWN, "parts")
    assert group.indices == (2,) and group.block.selector == "first_outlier"
    assert [row.selector for row in group.rows] == ["outlier_channels:mlp", "outlier_channels:top"]
    assert group.full is not None and [group.parameters(row) for row in group.shown] == [1000, 600, 10, 5000]
    assert [round(100 * group.against(row).mean, 9) for row in group.rows] == [-20, -40]
    shares = [group.share(row) for row in group.rows]
    assert [one[0] for one in shares] == pytest.approx([0.75, 0.5])


def test_sums_are_whole_blocks_with_the_dominant_one():
    (group,) = around.gathered(section(board()), KNOWN, "sums")
    assert [row.selector for row in group.rows] == ["first_outlier+layer:4"]
    assert group.against(group.rows[0]).mean == pytest.approx(0.01)
    alone = [one for one in board() if one["cell"]["selector"] in ("first_outlier", "layer:4", "all")]
    with pytest.raises(ZobenchError, match="a sum of it with another block"):
        around.gathered(section(alone), KNOWN, "sums")


def test_a_share_ends_where_the_rest_is_not_told_apart_from_none():
    """Fieller's set: at its ends the mean of top - r bottom is half its interval from 0."""
    (group,) = around.gathered(section(board()), KNOWN, "parts")
    part, block = group.rows[1].entry("sst2"), group.block.entry("sst2")
    middle, low, high = group.share(group.rows[1])
    assert low < middle < high
    for end in (low, high):
        rest = stats.beyond(part.items(), block.items(), block.items("zero_shot"), end)
        assert abs(rest.mean) == pytest.approx(rest.half(), abs=2e-4)
    n = 100  # by hand: items are d = t - r b with t in {0, 1} on the first 40, b on the first 80
    r = high
    values = [1 - r] * 40 + [-r] * 40 + [0] * 20
    mean = sum(values) / n
    deviation = (sum((v - mean) ** 2 for v in values) / (n - 1)) ** 0.5
    assert abs(mean) == pytest.approx(1.984217 * deviation / n**0.5, abs=2e-4)


def test_of_no_gain_there_is_no_share():
    flat = [
        cell(name, 50, [2], size, seed=seed, zero_shot=items(50, shuffle=1))
        for name, size in (("first_outlier", 1000), ("outlier_channels:top", 10))
        for seed in SEEDS
    ]
    (group,) = around.gathered(section(flat), KNOWN, "parts")
    assert group.share(group.rows[0]) is None
    assert "no share of it can be said" in around_page.markdown([group], 0.02)


def test_the_block_is_named_or_the_only_one():
    """Where no selector of the outlier block was run."""
    made = [
        cell("layer:1", 80, [1], 1000, selector_settings={"index": [1]}),
        cell("layer:4", 60, [4], 1000, selector_settings={"index": [4]}),
        cell("layer:1+layer:4", 82, [1, 4], 2000),
    ]
    with pytest.raises(ZobenchError, match="could be each of 1, 4: name it with --block"):
        around.gathered(section(made), KNOWN, "sums")
    (group,) = around.gathered(section(made), KNOWN, "sums", 1)
    assert group.block.selector == "layer:1"
    (group,) = around.gathered(section([*made[:2], cell("mine", 70, [1], 30)]), KNOWN, "parts")
    assert group.block.selector == "layer:1" and group.rows[0].selector == "mine"
    with pytest.raises(ZobenchError, match="block 3 alone and on a sum of it with another block: --tasks TASKS"):
        around.gathered(section(made), KNOWN, "sums", 3)
    same = [cell("first_outlier", 80, [2], 1000), cell("first_outlier+layer:2", 80, [2], 1000)]
    with pytest.raises(ZobenchError, match=r"first_outlier\+layer:2 is that block with itself; zobench run"):
        around.gathered(section(same), KNOWN, "sums")


def test_the_block_that_a_selector_chose_goes_before_one_that_scores_higher():
    """Both have the sum around them."""
    made = [
        cell("first_outlier", 60, [2], 1000),
        cell("layer:4", 80, [4], 1000, selector_settings={"index": [4]}),
        cell("first_outlier+layer:4", 82, [2, 4], 2000),
    ]
    (group,) = around.gathered(section(made), KNOWN, "sums")
    assert (group.block.selector, group.indices) == ("first_outlier", (2,))
    (other,) = around.gathered(section(made), KNOWN, "sums", 4)
    assert (other.block.selector, other.indices) == ("layer:4", (4,))


def test_what_is_missing_is_left_out_of_the_average_alone():
    made = board() + [one for one in board("rte") if one["cell"]["selector"] != "outlier_channels:top"]
    made.append(cell("outlier_channels:top", 1, [2], 10, task="copa"))
    made.append(cell("first_outlier", 80, [2], 1000, task="rte", seed=3, status="oom", error="out of memory"))
    (group,) = around.gathered(section(made), KNOWN, "parts")
    assert group.tasks == ("rte", "sst2") and group.averaged == ("sst2",)
    page = around_page.markdown([group], 0.02)
    assert "80.0 ± 8.0 (3 of 4 seeds)" in page and "- average over sst2." in page


def test_the_untouched_model_stands_above_with_its_average_over_the_averaged_tasks():
    def untouched(**lost):
        failed = {"status": "oom", "error": "out of memory"}
        made = [
            cell(name, right, [2], size, task=task, seed=seed, zero_shot=items(n), **(failed if at in lost else {}))
            for task, n in (("rte", 30), ("sst2", 50))
            for seed in SEEDS
            for name, right, size in (("first_outlier", 80, 1000), ("top", 40, 10))
            for at in [f"{task}_{name}"]
        ]
        (group,) = around.gathered(section(made), KNOWN, "parts")
        page = around_page.markdown([group], 0.02).splitlines()
        (line,) = [line for line in page if line.startswith("| zero-shot")]
        return [one.strip() for one in line.strip("|").split("|")]

    assert untouched() == ["zero-shot", "0", "", "30.0", "50.0", "40.0", "", ""]
    assert untouched(rte_top=True) == ["zero-shot", "0", "", "30.0", "50.0", "50.0", "", ""]
    assert untouched(rte_first_outlier=True) == ["zero-shot", "0", "", "50.0", "50.0", "", ""]


def test_the_page_marks_and_the_numbers_for_programs():
    (group,) = around.gathered(section(board()), KNOWN, "parts")
    page = around_page.markdown([group], 0.02)
    assert "## mezo, block 2" in page and "| zero-shot " in page
    (top,) = [
        line for line in page.splitlines() if line.startswith("| outlier&#95;channels:top") or "channels:top" in line
    ]
    assert "1 %" in top and "50 % (3" in top and "▼" in top
    (facts,) = around_page.facts([group], 0.02)
    assert facts["rows"][2]["verdict"] == "worse" and facts["rows"][2]["share_of_gain"]["share"] == pytest.approx(0.5)
    assert facts["rows"][0]["difference"] is None and facts["zero_shot"] == {"sst2": 0.0}
    (sums,) = around.gathered(section(board()), KNOWN, "sums")
    assert " = |" in around_page.markdown([sums], 0.05)


def test_the_commands(tmp_path, capsys):
    (tmp_path / "cells").mkdir()
    for one in board() + board("rte"):
        store.write(tmp_path, one)
    for command in ("channels", "combine"):
        picture, facts = tmp_path / f"{command}.svg", tmp_path / f"{command}.json"
        assert main(["analyze", command, str(tmp_path), "--plot", str(picture), "--json", str(facts)]) == 0
        assert "## mezo, block 2" in capsys.readouterr().out and picture.read_bytes().startswith(b"<?xml")
        said = json.loads(facts.read_text())
        assert said["methods"][0]["averaged"] == ["rte", "sst2"] and said["margin"] == 0.02
    for name, why in {
        "none": "no results folder",
        "empty": "no cell under",
        "failed": "no cell under",
        "mixed": "has 2 sections, one for each model, source of data and protocol (tiny steps=100; tiny steps=7)",
    }.items():
        folder = tmp_path / name
        if name != "none":
            (folder / "cells").mkdir(parents=True)
        for steps in {"failed": (100,), "mixed": (7, 100)}.get(name, ()):
            error = {"status": "oom", "error": "out of memory"} if name == "failed" else {}
            store.write(folder, cell("all", 50, [0], 5, protocol={"steps": steps}, **error))
        for command in (["analyze", "channels"], ["analyze", "controls", "selection"], ["analyze", "ranks"]):
            assert main([*command, str(folder)]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and why in said
