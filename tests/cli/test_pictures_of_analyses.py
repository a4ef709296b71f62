"""What the pictures of analyses show: the numbers of their pages, where they belong and with their names."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from kits.drawn import dots, ends, level, names, of_legend, titles  # noqa: E402
from kits.records import KNOWN, PROTOCOL, items, record, trials  # noqa: E402

from zobench.cli import around, controls, costs, curves, interventions, layers, ranks  # noqa: E402
from zobench.report import around as around_block  # noqa: E402
from zobench.report import blocks, budgets, fitted_cost, ranking, stats  # noqa: E402
from zobench.report import controls as controls_report  # noqa: E402
from zobench.report import curves as curves_report  # noqa: E402
from zobench.report import interventions as under  # noqa: E402
from zobench.report.sections import sections  # noqa: E402

SEEDS = (0, 1, 2)
PATH = Path("x.png")


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """The pictures' figures in the place of their bytes."""
    for module in (around, controls, costs, curves, interventions, layers, ranks):
        monkeypatch.setattr(module, "picture", lambda figure, path: figure)


def cell(selector, right, index, parameters=1000, task="sst2", seed=0, **more):
    made = record(selector=selector, task=task, seed=seed, test=items(right), zero_shot=items(30), **more)
    made["scope"] = {**made["scope"], "layers": index, "parameters": parameters}
    return made


def test_around_a_block_rows_stand_as_on_the_page_from_below():
    of = {"first_outlier": (80, [2], 1000), "top": (40, [2], 10), "all": (70, [0, 1, 2], 5000)}
    tasks = {"rte": 10, "sst2": 0}
    made = [
        cell(name, right - less, index, size, task=task, seed=seed)
        for name, (right, index, size) in of.items()
        for task, less in tasks.items()
        for seed in SEEDS
    ]
    (section,) = sections(made, known=KNOWN)
    (group,) = around_block.gathered(section, KNOWN, "parts")
    figure = around.drawn(PATH, [group], "tiny")
    assert titles(figure) == ["mezo, rte", "mezo, sst2", "mezo, average"]
    shown = [row.where for row in reversed(group.shown)]
    assert [names(axes) for axes in figure.axes] == [shown, [""] * 3, [""] * 3]
    for axes, less in zip(figure.axes, (10, 0, 5), strict=True):
        found = [(ends(one, horizontal=True)[0], one.lines[0].get_color()) for one in axes.containers]
        assert [(round(x), y, colour) for (x, y, *_), colour in found] == [
            (70 - less, 0, "tab:gray"),
            (40 - less, 1, "tab:blue"),
            (80 - less, 2, "tab:red"),
        ]
        assert all(low < x < high and x - low == pytest.approx(high - x) for (x, _, low, high), _ in found)
        (untouched,) = [one for one in axes.lines if one.get_linestyle() == ":"]
        assert list(untouched.get_xdata()) == [30.0, 30.0]
    half = 100 * group.full.entry("sst2").effect.half()
    assert ends(figure.axes[1].containers[0], horizontal=True)[0][2:] == pytest.approx((70 - half, 70 + half))


def test_differences_stand_beside_what_they_are_held_against():
    ways = {"float32": 80, "bfloat16": 75, "float16": 70}
    made = [record(seed=s, test=n + s, run={"dtype": dtype}) for dtype, n in ways.items() for s in SEEDS]
    (section,) = sections(made)
    (group,) = controls_report.by_precision(section)
    (axes,) = controls._held_drawn(PATH, [group], section).axes
    assert names(axes) == ["float16 / all", "bfloat16 / all"]
    found = [ends(one, horizontal=True)[0] for one in axes.containers]
    assert [(round(x), y) for x, y, *_ in found] == [(-10, 0), (-5, 1)]
    assert all(low < x < high for x, _, low, high in found)
    assert "float32 / all" in axes.get_xlabel()
    assert [list(one.get_xdata()) for one in axes.lines if list(one.get_ydata()) == [0, 1]] == [[0, 0]]


def test_rates_and_budgets_have_a_line_a_method():
    made = []
    for seed in SEEDS:
        one, two = record(seed=seed), record(selector="layer:1", seed=seed)
        one["trials"] = trials({1e-4: [0.6, 0.5 + 0.01 * seed], 1e-3: [0.4, 0.45], 1e-2: []})
        two["trials"] = trials({1e-4: [0.6], 1e-3: [0.3]})
        made += [one, two]
    figure = controls._rates_drawn(PATH, controls_report.rates(made))
    (axes,) = figure.axes
    of = [ends(one) for one in axes.containers]
    assert [[(x, pytest.approx(y)) for x, y, *_ in line] for line in of] == [
        [(1e-4, 0.51), (1e-3, 0.4)],
        [(1e-4, 0.6), (1e-3, 0.3)],
    ], "what diverged has no place"
    half = 4.302653 * 0.01 / 3**0.5
    assert of[0][0][2:] == pytest.approx((0.51 - half, 0.51 + half), rel=1e-4)
    assert of_legend(figure) == ["mezo / all", "mezo / layer:1"] and axes.get_xscale() == "log"

    made = []
    for seed in SEEDS:
        fast, slow = record(seed=seed, lr=1e-3), record(selector="layer:1", seed=seed, lr=1e-3)
        fast["trials"], slow["trials"] = trials({1e-3: [0.5, 0.3, 0.2]}), trials({1e-3: [0.9, 0.7 + 0.03 * seed]})
        fast["forwards"] = {**fast["forwards"], "train": 150, "extra": 0}
        slow["forwards"] = {**slow["forwards"], "train": 200, "extra": 0}
        made += [fast, slow]
    found = budgets.gathered(made)
    figure = controls._budget_drawn(PATH, found)
    (axes,) = figure.axes
    of = [ends(one) for one in axes.containers]
    assert [[(x, pytest.approx(y)) for x, y, *_ in line] for line in of] == [
        [(step * one.runs[0].forwards, pytest.approx(loss)) for step, loss in said]
        for one, said in zip(found["sst2"], ([(25, 0.5), (50, 0.3), (75, 0.2)], [(25, 0.9), (50, 0.73)]), strict=True)
    ]
    assert level(axes, ":") == [pytest.approx(budgets.target_of(found["sst2"]))]
    assert titles(figure) == ["sst2"] and of_legend(figure) == ["mezo / all", "mezo / layer:1"]


def test_costs_are_dots_and_their_fit_a_line_from_nothing():
    sizes = {"all": 1_000_000, "layer:1": 250_000}
    made = []
    for task, forward_s in (("sst2", 1.0), ("drop", 3.0)):
        for selector, size in sizes.items():
            one = record(selector=selector, task=task)
            one["scope"]["parameters"], one["time"]["step_s"] = size, 2 * forward_s + 1e-6 * size
            made.append(one)
    figure = costs.drawn(PATH, fitted_cost.fitted(made))
    (axes,) = figure.axes
    measured, fits = dots(axes)
    assert [(x, pytest.approx(y)) for x, y, _ in measured] in (
        [([0.25, 1.0], [2250.0, 3000.0]), ([0.25, 1.0], [6250.0, 7000.0])],
        [([0.25, 1.0], [6250.0, 7000.0]), ([0.25, 1.0], [2250.0, 3000.0])],
    )
    for (_, (_, last), colour), (x, (first, end), own) in zip(measured, fits, strict=True):
        assert x == [0.0, 1.0] and end == pytest.approx(last) and first == pytest.approx(last - 1000) and own == colour
    assert of_legend(figure) == ["drop", "sst2"] and axes.get_ylim()[0] == 0


def test_curves_are_lines_with_bands():
    made = [record(seed=0), record(seed=1), record("lozo"), record(task="rte")]
    start = {("mezo", 0): 1.0, ("mezo", 1): 1.2, ("lozo", 0): 2.0}

    def losses(one):
        return [(k, start[one["cell"]["estimator"], one["cell"]["seed"]] - 0.1 * k) for k in range(1, 4)]

    found = curves_report.curves(made, losses)
    figure = curves.drawn(PATH, found)
    assert titles(figure) == ["rte", "sst2"] and of_legend(figure) == ["lozo / all", "mezo / all"]
    lines = [(list(one.get_xdata()), list(one.get_ydata())) for one in figure.axes[1].lines]
    assert [(x, pytest.approx(y)) for x, y in lines] == [([1, 2, 3], [1.9, 1.8, 1.7]), ([1, 2, 3], [1.0, 0.9, 0.8])]
    effect = next(one for one in found if one.name == "mezo / all" and one.task == "sst2").over_seeds[0]
    band = figure.axes[1].collections[1].get_paths()[0].vertices
    at_first = sorted({round(float(y), 9) for x, y in band if x == 1})
    assert at_first == pytest.approx([1.0 - min(effect.half(), 0.999), 1.0 + effect.half()])


def swept(scores, protocol=None, **more):
    return [
        cell(f"layer:{n}", right + seed, [n], seed=seed, selector_settings={"index": [n]}, protocol=protocol, **more)
        for n, right in enumerate(scores)
        for seed in SEEDS
    ]


def test_blocks_tuned_alone_are_points_and_the_others_lines():
    made = swept([60, 80, 70]) + [cell("all", 74 + seed, [0, 1, 2], seed=seed) for seed in SEEDS]
    made += [cell("first_outlier", 81, [1], seed=seed) for seed in SEEDS]
    found = blocks.sweeps(made, KNOWN)
    figure = layers.drawn(PATH, found)
    (axes,) = figure.axes
    points = ends(axes.containers[0])
    assert [(x, round(y, 9)) for x, y, *_ in points] == [(0, 61.0), (1, 81.0), (2, 71.0)]
    half = 100 * found[0].blocks[1].effect.half()
    assert points[1][2:] == pytest.approx((81 - half, 81 + half))
    assert level(axes, "--") == [pytest.approx(75)] and level(axes, ":") == [pytest.approx(30)]
    (star,) = [one for one in axes.lines if one.get_marker() == "*"]
    assert (list(star.get_xdata()), list(star.get_ydata())) == ([1], [pytest.approx(81)])
    assert titles(figure) == ["mezo, sst2"]
    assert set(of_legend(figure)) == {"one block", "all weights", "zero-shot", "first_outlier"}


def test_blocks_of_transformed_models_stand_beside_those_of_the_plain_one():
    made = swept([80, 60, 70]) + swept([55, 60, 75], {**PROTOCOL, "transform": "plant:2:6:100"})
    figure = interventions.drawn(PATH, under.gathered(made, KNOWN))
    (axes,) = figure.axes
    plain, other = (ends(one) for one in axes.containers)
    assert [(round(x, 9), round(y, 9)) for x, y, *_ in plain] == [(-0.06, 81.0), (0.94, 61.0), (1.94, 71.0)]
    assert [(round(x, 9), round(y, 9)) for x, y, *_ in other] == [(0.06, 56.0), (1.06, 61.0), (2.06, 76.0)]
    assert all(low < y < high for _, y, low, high in plain + other) and level(axes, ":") == [pytest.approx(30)] * 2
    assert [one.get_text() for one in axes.get_legend().get_texts()] == ["as it is", "plant:2:6:100"]
    assert titles(figure) == ["mezo, sst2"]


def test_ranks_stand_with_the_best_on_top():
    tasks = [f"t{k}" for k in range(10)]
    made = [
        record(name, task=task, seed=seed, test=items(right, 10), zero_shot=items(5, 10))
        for name, right in {"mezo": 9, "lozo": 6, "fzoo": 8}.items()
        for task in tasks
        for seed in SEEDS
    ]
    (section,) = sections(made)
    left, mean_ranks = ranks.drawn(PATH, section).axes
    found = ranking.ranked(section)
    assert names(left) == [one.row.name for one in reversed(found)] and names(left)[-1] == "mezo / all"
    bars = [ends(one, horizontal=True)[0] for one in left.containers]
    assert bars == [(one.rank, at, one.low, one.high) for at, one in enumerate(reversed(found))]
    points, grey = dots(mean_ranks)
    assert [(x, y) for x, y, _ in points] == [([3.0], [0.0]), ([2.0], [1.0]), ([1.0], [2.0])]
    assert names(mean_ranks) == ["lozo / all", "fzoo / all", "mezo / all"]
    rows, result = ranking.test_of_ranks(section)
    of = [
        [result.mean_ranks[i] for i in group] for group in stats.cliques(result.mean_ranks, result.critical_difference)
    ]
    assert [sorted(x) for x, *_ in grey] == [[min(one), max(one)] for one in of] and of
    assert f"{result.critical_difference:.2f}" in mean_ranks.get_xlabel()
    (few,) = sections([one for one in made if one["cell"]["task"] in tasks[:9]])
    assert len(ranks.drawn(PATH, few).axes) == 1, "mean ranks need ten tasks"
