"""Controls of a claim about scopes: known answers on made-up records."""

import pytest
from kits.records import KNOWN, PROTOCOL, record, trials

from zobench import ZobenchError
from zobench.cli import main
from zobench.report import blocks, budgets, controls, held, interventions, stats
from zobench.report.sections import sections

SEEDS = (0, 1, 2)


def right(n, seed):
    """Scores that differ a little by seed."""
    return n + seed


def test_rank_correlations_by_hand():
    assert stats.spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
    assert stats.spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert stats.spearman([1, 1, 1], [3, 2, 1]) == 0
    assert stats.spearman([1, 2, 2, 4], [1, 3, 2, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    thing = [[[1.0] * k + [0.0] * (40 - k)] for k in (5, 20, 35)]
    same = stats.rank_correlation([thing, thing], draws=200)
    assert same[0] == pytest.approx(1) and same[1] > 0.9 and same[2] == pytest.approx(1)
    mean, low, high = stats.rank_correlation([thing, thing[::-1]], draws=200)
    assert mean == pytest.approx(-1) and low == pytest.approx(-1) and high < -0.9
    alike = [[[1.0, 0.0] * 20] for _ in range(3)]
    mean, low, high = stats.rank_correlation([alike, thing], draws=200)
    assert low <= 0 <= high


def test_precision_is_held_against_the_finest_way():
    ways = {"float32": (80, {}), "float16": (70, {"restore": "arithmetic", "engine": "official"}), "bfloat16": (75, {})}
    made = [
        record(seed=seed, test=right(n, seed), run={"dtype": dtype, **more})
        for dtype, (n, more) in ways.items()
        for seed in SEEDS
    ]
    (section,) = sections(made)
    (group,) = controls.by_precision(section)
    assert group.against.records[0]["cell"]["run_settings"]["dtype"] == "float32" and len(group.rows) == 3
    assert [row.name for row in group.rows] == [
        "float32 / all",
        "bfloat16 / all",
        "float16, official engine, arithmetic restore / all",
    ]
    found = held.effects([group], section)
    assert sorted(round(100 * e.mean, 6) for e in found.values()) == [-10, -5]
    page = held.markdown([group], section)
    assert "-10.0" in page and all(page.count(f" {mean} ± ") == 2 for mean in ("81.0", "76.0", "71.0"))
    with pytest.raises(ZobenchError, match="no method was run in two precisions"):
        controls.by_precision(sections(made[:3])[0])


def test_of_one_precision_the_finest_way_is_the_one_that_does_not_drift():
    """Exact restore before arithmetic, which the official engine always does."""
    ways = ({"restore": "arithmetic", "engine": "flat"}, {"engine": "official"}, {"restore": "exact", "engine": "flat"})
    made = [
        record(seed=seed, test=right(70 + 5 * k, seed), run={"dtype": "float32", **how})
        for k, how in enumerate(ways)
        for seed in SEEDS
    ]
    (group,) = controls.by_precision(sections(made)[0])
    said = group.against.records[0]["cell"]["run_settings"]
    assert (said["engine"], said["restore"]) == ("flat", "exact")


def sweep(scores, task, protocol=None):
    return [
        record(
            selector=f"layer:{n}",
            task=task,
            seed=seed,
            test=right(score, seed),
            protocol=protocol,
            selector_settings={"index": [n]},
        )
        for n, score in enumerate(scores)
        for seed in SEEDS
    ]


def with_layers(made):
    for one in made:
        selector = one["cell"]["selector"]
        if selector.startswith("layer:"):
            one["scope"]["layers"] = [int(selector[6:])]
    return made


def test_selection_is_held_against_the_outlier_block_and_tasks_are_compared():
    made = with_layers(sweep([80, 60, 70], "sst2") + sweep([81, 61, 71], "rte"))
    made += [
        record(selector="first_outlier", task=task, seed=s, test=right(80, s))
        for task in ("sst2", "rte")
        for s in SEEDS
    ]
    (section,) = sections(made, known=KNOWN)
    (group,) = controls.by_selection(section, KNOWN)
    assert group.against.selector == "first_outlier" and len(group.rows) == 4
    found = held.effects([group], section)
    assert sorted(round(100 * e.mean, 6) for e in found.values()) == [-19.5, -9.5, 0.5]
    (agreed,) = controls.block_correlations(blocks.sweeps(made, KNOWN), draws=200)
    assert (agreed.estimator, agreed.tasks, agreed.blocks) == ("mezo", ("rte", "sst2"), 3)
    assert agreed.mean == 1 and 0 < agreed.low <= agreed.high == 1
    page = controls.correlation_page([agreed])
    assert page.splitlines()[-1].replace(" ", "") == "|mezo|rte,sst2|3|+1.00|+1.00to+1.00|"
    with pytest.raises(ZobenchError, match="first_outlier"):
        controls.by_selection(sections(sweep([80, 60], "sst2"), known=KNOWN)[0], KNOWN)


def test_rates_say_whether_the_best_is_inside_the_grid():
    made = []
    for seed in SEEDS:
        one = record(seed=seed)
        one["trials"] = trials({1e-4: [0.6, 0.5 + 0.01 * seed], 1e-3: [0.4, 0.45], 1e-2: []})
        two = record(selector="layer:1", seed=seed)
        two["trials"] = trials({1e-4: [0.6], 1e-3: [0.3 + 0.01 * seed]})
        made += [one, two]
    whole, block = controls.rates(made)
    assert (whole.name, whole.best, whole.inside) == ("mezo / all", 1, True)
    assert [at.mean for at in whole.at[:2]] == pytest.approx([0.51, 0.4]) and whole.at[2].diverged == 3
    assert whole.at[0].dev.half() == pytest.approx(4.302653 * 0.01 / 3**0.5, rel=1e-4)
    assert (block.best, block.inside) == (1, False)
    page = controls.rate_page([whole, block])
    assert "**0.4000 ± 0.0000**" in page and "diverged" in page and page.count(" yes |") == 1


def test_blocks_stand_in_their_order():
    made = []
    for block in (11, 2, 0):
        one = record(selector=f"layer:{block}")
        one["trials"] = trials({1e-4: [0.6]})
        made.append(one)
    assert [row.name for row in controls.rates(made)] == ["mezo / layer:0", "mezo / layer:2", "mezo / layer:11"]


def test_budgets_area_and_cost_of_a_target():
    made = []
    for seed in SEEDS:
        fast, slow = record(seed=seed, lr=1e-3), record(selector="layer:1", seed=seed, lr=1e-3)
        fast["trials"] = trials({1e-3: [0.5, 0.3, 0.3]})
        fast["forwards"] = {**fast["forwards"], "train": 150, "extra": 0}
        slow["trials"] = trials({1e-3: [0.9, 0.7, 0.5 if seed else 0.8]})
        slow["forwards"] = {**slow["forwards"], "train": 200, "extra": 100}
        made += [fast, slow]
    found = budgets.gathered(made)["sst2"]
    quick, late = found
    assert [run.forwards for run in quick.runs] == [2, 2, 2] and late.runs[0].forwards == 4
    assert quick.runs[0].area(150) == pytest.approx((0.4 + 0.3) / 2)
    assert late.runs[0].area(150) == pytest.approx(0.9), "only its first look lies within"
    assert budgets.target_of(found) == pytest.approx((0.7 + 0.5 + 0.5) / 3)
    assert [run.steps_to(budgets.target_of(found)) for run in quick.runs] == [25, 25, 25]
    assert [run.steps_to(budgets.target_of(found)) for run in late.runs] == [None, 75, 75]
    assert quick.runs[0].steps_to(0.3) == 50, "no higher than the target is there"
    page = budgets.markdown({"sst2": found})
    assert "2 of 3" in page and "300 ± 0" in page and page.index("mezo / all") < page.index("mezo / layer:1")


def test_transforms_are_held_beside_the_plain_model():
    moved = {**PROTOCOL, "transform": "plant:2:6:100"}
    made = with_layers(sweep([80, 60, 70], "sst2") + sweep([55, 60, 75], "sst2", moved))
    for one in made:
        n = one["scope"]["layers"][0]
        best = 2 if "transform" in one["protocol"] else 0
        one["metrics"]["dev"] = {**one["metrics"]["test"], "loss": 0.3 if n == best else 0.5}
    ((plain, other),) = interventions.gathered(made, KNOWN)
    assert (plain.transform, other.transform) == ("", "plant:2:6:100")
    assert (plain.sweep.chosen, other.sweep.chosen) == (0, 2)
    page = interventions.markdown([[plain, other]])
    assert "A = `plant:2:6:100`: dev chooses block 2; on test, against block 0, +20.0" in page
    assert "with correlation -0.50" in page
    assert "| 0         | 81.0 ± " in page and " 56.0 ± " in page
    marked = [line.count("†") for line in page.splitlines() if line.startswith(("| 0 ", "| 1 ", "| 2 "))]
    assert marked == [1, 0, 1], "the block that dev chose, of each"


def test_under_a_transform_a_block_without_a_score_is_a_dash_and_lost_seeds_are_counted():
    made = with_layers(
        sweep([80, 60, 70], "sst2") + sweep([55, 60, 75], "sst2", {**PROTOCOL, "transform": "plant:2:6:1"})
    )
    lost = {("layer:1", ""): SEEDS, ("layer:0", "plant:2:6:1"): (2,)}
    for one in made:
        under = one["protocol"].get("transform", "")
        if one["cell"]["seed"] in lost.get((one["cell"]["selector"], under), ()):
            one |= {"status": "oom", "error": "out of memory"}
    page = interventions.markdown(interventions.gathered(made, KNOWN))
    rows = {
        line[0]: line[1:] for line in ([x.strip() for x in y.strip("|").split("|")] for y in page.splitlines() if y)
    }
    assert rows["1"][0] == "-" and rows["1"][1].startswith("61.0 ± ")
    assert rows["0"][0].startswith("81.0 ± ") and rows["0"][1].startswith("55.5 ± ")
    assert rows["0"][1].endswith(" (2 of 3 seeds)") and "seeds" not in rows["0"][0]


def test_the_commands(tmp_path, capsys):
    from zobench.report import store

    made = with_layers(
        sweep([80, 60, 70], "sst2") + sweep([55, 60, 75], "sst2", {**PROTOCOL, "transform": "plant:2:6:1"})
    )
    for name, own in (("plain", made[:9]), ("both", made)):
        (tmp_path / name / "cells").mkdir(parents=True)
        for one in own:
            store.write(tmp_path / name, one)
    for line in (["controls", "rate", "plain"], ["controls", "budget", "plain"], ["transforms", "both"]):
        picture = tmp_path / f"{line[-2]}.svg"
        assert main(["analyze", *line[:-1], str(tmp_path / line[-1]), "--plot", str(picture)]) == 0, line
        assert "## " in capsys.readouterr().out and picture.read_bytes().startswith(b"<?xml")
    assert main(["analyze", "transforms", str(tmp_path / "plain")]) == 2


def test_a_rate_has_an_interval_from_two_seeds_on():
    one, two, lost = (controls._at(1e-3, runs, []) for runs in ([0.5], [0.4, 0.6], [0.4, None, 0.6]))
    assert one.dev is None and one.mean == 0.5
    assert two.dev is not None and two.dev.mean == pytest.approx(0.5) == two.mean and two.dev.half() > 0
    assert lost.dev == two.dev and (lost.runs, lost.diverged) == (3, 1)
    nothing = controls._at(1e-3, [None], [])
    assert nothing.dev is None and nothing.mean == float("inf")


def test_two_blocks_have_no_correlation_across_tasks():
    made = with_layers(sweep([80, 60], "sst2") + sweep([70, 60], "rte"))
    assert controls.block_correlations(blocks.sweeps(made, KNOWN), draws=20) == []
