"""Blocks tuned one at a time: which is best, what it is held against, and the command that shows it."""

import pytest
from factory import items, record

from zobench.cli import main
from zobench.report import blocks, store

RIGHT = {0: (70, 74, 72), 1: (50, 52, 51), 2: (90, 88, 92), 3: (60, 60, 60)}  # of 100, by block and seed


def made(task="sst2", right=RIGHT, **more):
    out = []
    for block, seeds in right.items():
        for seed, n in enumerate(seeds):
            cell = record(selector=f"layer:{block}", task=task, seed=seed, test=items(n, shuffle=(block, seed)), **more)
            cell["scope"]["layers"] = [block]
            out.append(cell)
    return out


def beside(task="sst2"):
    full = [record(selector="all", task=task, seed=seed, test=80) for seed in range(3)]
    outlier = record(selector="first_outlier", task=task, seed=0, test=70)
    outlier["scope"]["layers"] = [0]
    return [*full, outlier]


def test_blocks_are_ranked_by_their_mean_test_score():
    (sweep,) = blocks.sweeps([*made(), *beside()])
    assert (sweep.estimator, sweep.task, sweep.outlier) == ("mezo", "sst2", (0,))
    assert sweep.ranked == [2, 0, 3, 1] and (sweep.best, sweep.middle) == (2, 0)
    assert sweep.full.values() == [0.8] * 3


def test_of_an_odd_number_the_middle_is_the_median():
    (sweep,) = blocks.sweeps(made(right={k: RIGHT[k] for k in (0, 1, 2)}))
    assert sweep.ranked == [2, 0, 1] and sweep.middle == 0


def test_the_best_is_compared_on_the_same_items_and_seeds():
    (sweep,) = blocks.sweeps(made())
    compared = sweep.against(sweep.blocks[1])
    assert compared.difference == pytest.approx(0.9 - 0.51) and compared.items == 100
    differences = [
        sum(sweep.blocks[2].items()[s][i] - sweep.blocks[1].items()[s][i] for s in range(3)) / 3 for i in range(100)
    ]
    mean = sum(differences) / 100
    assert compared.stderr == pytest.approx((sum((d - mean) ** 2 for d in differences) / 99 / 100) ** 0.5)


def test_the_error_is_over_seeds_and_of_one_seed_over_items():
    (sweep,) = blocks.sweeps(made())
    assert blocks.error(sweep.blocks[2]) == pytest.approx(0.02 / 3**0.5)
    (single,) = blocks.sweeps(made(right={0: (50,), 1: (90,)}))
    assert blocks.error(single.blocks[0]) == pytest.approx(0.05, rel=0.02)


def test_failed_cells_several_blocks_and_single_blocks_are_no_sweep():
    failed = [{**cell, "status": "diverged"} for cell in made(right={7: (99,)})]
    (sweep,) = blocks.sweeps([*made(), *failed])
    assert 7 not in sweep.blocks
    both = made(right={0: (50,)})
    both[0]["scope"]["layers"] = [0, 1]
    assert blocks.sweeps(both) == [] and blocks.sweeps(made(right={0: (50, 60, 70)})) == []


def test_the_table_says_what_is_best_and_against_what():
    text = blocks.markdown(blocks.sweeps([*made(), *beside(), *made("rte", {0: (50,), 1: (60,)})]))
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "**90.0 ± 1.2**" in lines["2"] and "**60.0 ±" in lines["1"]
    assert "80.0 ± 0.0" in lines["all weights"] and lines["first_outlier chose"].count("0") == 1
    assert "sst2: block 2 is best; against the middle block (0) +18.0 ±" in text
    assert "the outlier block (0) +18.0" in text and "all weights +10.0" in text


@pytest.fixture
def results(tmp_path):
    for cell in [*made(), *beside()]:
        store.write(tmp_path, cell)
    return tmp_path


def test_the_command_prints_writes_and_draws(results, capsys):
    out, plot = results / "layers.md", results / "layers.png"
    assert main(["analyze", "layers", str(results), "--out", str(out), "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert printed == out.read_text() and "## mezo on tiny" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_the_command_says_what_is_missing(tmp_path, capsys):
    store.write(tmp_path, record())
    assert main(["analyze", "layers", str(tmp_path)]) == 2
    assert "--selector layer:0,layer:1" in capsys.readouterr().err
    assert main(["analyze", "layers", str(tmp_path), "--plot", "x.gif"]) == 2
    assert ".png, .pdf or .svg" in capsys.readouterr().err
