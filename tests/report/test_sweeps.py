"""Blocks tuned one at a time: which is best, what it is held against, and the command that shows it."""

import pytest
from kits.records import KNOWN, items, record

from zobench.cli import main
from zobench.cli.layers import drawn
from zobench.report import blocks, stats, store

RIGHT = {0: (70, 74, 72), 1: (50, 52, 51), 2: (90, 88, 92), 3: (60, 60, 60)}  # of 100, by block and seed
DEV = {0: 0.5, 1: 0.9, 2: 0.4, 3: 0.7, 7: 0.1}  # dev losses


def made(task="sst2", right=RIGHT, dev=DEV, **more):
    out = []
    for block, seeds in right.items():
        for seed, n in enumerate(seeds):
            cell = record(selector=f"layer:{block}", task=task, seed=seed, test=items(n), **more)
            cell["scope"]["layers"] = [block]
            if dev is not None:
                cell["metrics"]["dev"] = {**cell["metrics"]["test"], "loss": dev[block]}
            out.append(cell)
    return out


def beside(task="sst2"):
    full = [record(selector="all", task=task, seed=seed, test=items(80)) for seed in range(3)]
    outlier = record(selector="first_outlier", task=task, seed=0, test=70)
    outlier["scope"]["layers"] = [0]
    return [*full, outlier]


def swept(records):
    return blocks.sweeps(records, KNOWN)


def test_blocks_are_ranked_by_dev_and_reported_on_test():
    (sweep,) = swept([*made(), *beside()])
    assert (sweep.estimator, sweep.task, sweep.outlier) == ("mezo", "sst2", (0,))
    assert sweep.ranked == [2, 0, 3, 1] and (sweep.chosen, sweep.middle) == (2, 0)
    assert sweep.full.values() == [0.8] * 3
    (other,) = swept(made(dev=DEV | {1: 0.01}))
    assert other.chosen == 1, "though it is the worst on test"


def test_of_an_odd_number_the_middle_is_the_median():
    (sweep,) = swept(made(right={k: RIGHT[k] for k in (0, 1, 2)}))
    assert sweep.ranked == [2, 0, 1] and sweep.middle == 0


def test_what_dev_is_not_known_of_is_not_chosen():
    (sweep,) = swept([*made(right={0: (50, 50, 50), 1: (60, 60, 60)}), *made(right={2: (99, 99, 99)}, dev=None)])
    assert sweep.ranked == [0, 1, 2]
    cells = made(right={k: RIGHT[k] for k in (0, 2)})
    del cells[-1]["metrics"]["dev"]
    (sweep,) = swept(cells)
    assert sweep.ranked == [0, 2], "of one seed of block 2 it is not known"


def test_the_chosen_is_compared_on_the_same_items_and_seeds():
    (sweep,) = swept(made())
    compared = sweep.against(sweep.blocks[1])
    assert compared.mean == pytest.approx(0.9 - 0.51) and compared.items == 100 and compared.seeds == 3
    ours = stats.compare(
        {s: sweep.blocks[2].items()[0, s] for s in range(3)}, {s: sweep.blocks[1].items()[0, s] for s in range(3)}
    )
    assert (compared.stderr, compared.p) == (ours.stderr, ours.p)


def test_a_block_that_won_by_one_seed_is_no_best_block():
    """DROP of the embedded model: one seed of the rival collapsed, and +15.6 was called 15.6 +- 1.7."""
    found = swept(made(right={0: (81, 80, 27), 1: (81, 81, 80)}, dev={0: 0.5, 1: 0.4}))
    said = blocks.markdown(found)
    assert "dev chooses block 1; on test, against the middle block" not in said, "it is the better of two itself"
    (sweep,) = found
    one = sweep.against(sweep.blocks[0])
    assert one.mean == pytest.approx(0.18) and one.half() > 0.3 and one.p > 0.3


def test_failed_cells_several_blocks_and_single_blocks_are_no_sweep():
    failed = [{**cell, "status": "diverged"} for cell in made(right={7: (99,)})]
    (sweep,) = swept([*made(), *failed])
    assert 7 not in sweep.blocks
    both = made(right={0: (50,)})
    both[0]["scope"]["layers"] = [0, 1]
    assert swept(both) == [] and swept(made(right={0: (50, 60, 70)})) == []


def test_a_seed_that_failed_keeps_a_block_from_being_compared():
    cells = made()
    lost = next(cell for cell in cells if cell["cell"]["selector"] == "layer:3" and cell["cell"]["seed"] == 1)
    lost["status"] = "diverged"
    (sweep,) = swept(cells)
    assert sweep.against(sweep.blocks[3]) is None and sweep.against(sweep.blocks[0]) is not None


def test_the_table_says_what_dev_chose_and_what_holds():
    text = blocks.markdown(swept([*made(), *beside(), *made("rte", {0: (50,), 1: (60,)})]))
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    (best,) = [cell.strip() for cell in lines["2"].split("|") if "90.0" in cell]
    assert best.startswith("**90.0 ± ") and best.endswith("†**")
    assert "50.0 ± 10.0¹†" in lines["0"] and "**60.0" not in lines["1"], "one seed: nothing is bold"
    assert "80.0 ± 8.0" in lines["all weights"] and lines["first_outlier chose"].count("0") == 1
    assert "sst2: dev chooses block 2; on test, against the middle block (0) +18.0 ±" in text
    assert "the outlier block (0) +18.0 ± " in text and "all weights +10.0" in text
    # three rivals of the best block, the middle one, the outlier block, all weights; one seed of rte counts for nothing
    assert "Holm-corrected over all 6 comparisons of this page" in text


def test_blocks_that_differ_by_nothing_are_not_bold():
    text = blocks.markdown(swept(made(right={0: (60, 62, 61), 1: (61, 60, 62)})))
    assert not any("**" in line for line in text.splitlines() if line.startswith("|"))


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


@pytest.mark.parametrize(
    ("cells", "lines"), [(made(), {"zero-shot"}), ([*made(), *beside()], {"zero-shot", "all weights"})]
)
def test_the_picture_has_the_untouched_model_without_all_weights_too(cells, lines, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("zobench.cli.layers.legend", lambda figure, found, order: seen.update(found))
    drawn(tmp_path / "layers.png", swept(cells))
    assert {label for label in seen if label != "one block"} - {"first_outlier"} == lines
