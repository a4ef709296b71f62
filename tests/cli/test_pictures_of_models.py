"""What the pictures of looks at a model show: the numbers of their pages, where they belong and with their names."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from kits.drawn import ends, names  # noqa: E402

from zobench.cli import activations_picture, propagation, sensitivity  # noqa: E402
from zobench.report import sensitivity as looks_of  # noqa: E402

PATH = Path("x.png")


@pytest.fixture(autouse=True)
def figures(monkeypatch):
    """The pictures' figures in the place of their bytes."""
    for module in (activations_picture, propagation, sensitivity):
        monkeypatch.setattr(module, "picture", lambda figure, path: figure)


def test_what_a_perturbation_reaches_is_drawn_from_its_block_up():
    found = [
        {"task": "sst2", "block": n, "seed": seed, "batch": 0, "change": [0.0] * n + [0.1 * (1 + seed)] * (3 - n)}
        for n in (0, 1)
        for seed in (0, 1)
    ]
    figure = propagation.drawn(PATH, found, 1e-3, {"sst2": 1}, "tiny")
    (axes,) = figure.axes
    assert [[x for x, *_ in ends(one)] for one in axes.containers] == [[0, 1, 2], [1, 2]]
    assert all(y == pytest.approx(0.15) and low < y < high for one in axes.containers for _, y, low, high in ends(one))
    assert [one.lines[0].get_color() for one in axes.containers] == ["tab:blue", "tab:red"]
    assert figure._suptitle.get_text() == "tiny, eps 0.001 (red: the first outlier block)"
    none = propagation.drawn(PATH, found, 1e-3, {"sst2": None}, "tiny")
    assert none._suptitle.get_text() == "tiny, eps 0.001 (no outlier block)"
    assert [one.lines[0].get_color() for one in none.axes[0].containers] == ["tab:blue"] * 2


def test_the_change_of_the_loss_stands_above_signal_over_noise():
    facts = {"task": "sst2", "parameters": 4, "base": 1.0, "slope": None, "gradient": None}
    of = ((0, 0, 0, 1.3, 0.9), (0, 0, 1, 1.1, 0.9), (0, 1, 0, 0.8, 1.2), (0, 1, 1, 1.1, 1.0))
    of += tuple((1, seed, batch, 2 * plus, minus) for _, seed, batch, plus, minus in of)
    looks = [dict(zip(("block", "seed", "batch", "plus", "minus"), one, strict=True), **facts) for one in of]
    figure = sensitivity.drawn(PATH, looks, 0.5, {"sst2": 1}, "tiny")
    above, beneath = figure.axes
    found = looks_of.blocks(looks, 0.5)
    for axes, pick in ((above, "change"), (beneath, "signal")):
        effects = [getattr(one, pick) for one in found]
        bars = [one for one in axes.patches]
        assert [round(one.get_x() + one.get_width() / 2) for one in bars] == [0, 1]
        assert [one.get_height() for one in bars] == pytest.approx([one.mean for one in effects])
        (segments,) = [one.get_segments() for one in axes.collections]
        for effect, ((_, low), (_, high)) in zip(effects, segments, strict=True):
            assert (low, high) == pytest.approx((max(0.0, effect.mean - effect.half()), effect.mean + effect.half()))
        first, second = (one.get_facecolor()[:3] for one in bars)
        assert first[2] > first[0] and second[0] > second[2], "blue, and the outlier block red"
    assert (above.get_title(), above.get_ylabel(), beneath.get_ylabel()) == (
        "sst2",
        "size of the loss's change",
        "signal / noise",
    )
    assert figure._suptitle.get_text() == "tiny, eps 0.5, 95 % intervals"


def test_of_many_tasks_each_has_its_line_and_each_rule_its_marks():
    def facts(task, plateau, jump):
        rows = [{"index": k - 1, "ratio": None if k == 0 else 10.0 * k, "max": 1.0} for k in range(4)]
        rules = {"plateau": {"block": plateau, "condition": "p"}, "jump": {"block": jump, "condition": "j"}}
        return {"task": task, "rows": rows, "rules": rules, "model": "m"}

    figure = activations_picture._many(PATH, [facts("a", 1, 2), facts("b", 0, None)])
    above, below = figure.axes
    assert [(one.get_label(), list(one.get_xdata()), list(one.get_ydata())) for one in above.lines] == [
        (task, [0, 1, 2], [10.0, 20.0, 30.0]) for task in "ab"
    ]
    marks = {one.get_label(): (list(one.get_xdata()), list(one.get_ydata())) for one in below.lines}
    assert marks == {
        "plateau: p": ([1, 0], pytest.approx([-0.09, 0.91])),
        "jump: j": ([2], pytest.approx([0.09])),
    }
    assert names(below) == ["a", "b"] and below.get_ylim()[0] > below.get_ylim()[1], "the first task on top"
    assert figure._suptitle.get_text() == "m: the first outlier block by rule and task" and above.get_yscale() == "log"
