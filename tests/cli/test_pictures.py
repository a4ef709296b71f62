"""What pictures share: who has which colour and dash, and where axes end."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure  # noqa: E402

from zobench.cli import activations_picture, pictures  # noqa: E402


def test_a_colour_an_estimator_and_a_dash_a_selector():
    look = pictures.styles(["mezo / all", "lozo / first_outlier", "mezo / first_outlier", "lozo / all"])
    assert list(look) == ["lozo / all", "lozo / first_outlier", "mezo / all", "mezo / first_outlier"]
    assert look["mezo / all"]["color"] == look["mezo / first_outlier"]["color"] != look["lozo / all"]["color"]
    assert [one["linestyle"] for one in look.values()] == ["-", "--", "-", "--"]
    sweep = pictures.styles(f"mezo / layer:{n}" for n in (10, 2, 0, *range(20, 30)))
    assert list(sweep)[:3] == ["mezo / layer:0", "mezo / layer:2", "mezo / layer:10"]
    assert len({str(one["color"]) for one in sweep.values()}) == len(sweep)


@pytest.mark.parametrize("count", [1, 10, 11, 20, 33])
def test_no_two_colours_are_the_same(count):
    assert len({tuple(one) for one in pictures.colours(count)}) == count


def test_axes_end_where_percentages_and_losses_do(tmp_path):
    figure, (left, right) = pictures.panels(tmp_path / "x.png", 2)
    assert isinstance(figure, Figure)
    left.errorbar([0], [60], yerr=[80])
    pictures.percents(left)
    assert left.get_ylim() == (-2, 102)
    right.errorbar([0, 1], [0.2, 0.5], yerr=[[pictures.below(0.2, 3.0), pictures.below(0.5, 3.0)], [3.0, 3.0]])
    pictures.losses(right, [0.2, 0.5])
    low, high = right.get_ylim()
    room = 1.05 * 2.5**0.08
    assert right.get_yscale() == "log" and (low, high) == pytest.approx((0.2 / room, 0.5 * room))
    right.figure.canvas.draw()
    assert [round(x, 6) for x in right.get_yticks() if low <= x <= high] == [0.2, 0.3, 0.4, 0.5]
    pictures.losses(right, [])
    assert right.get_ylim() == (low, high)
    pictures.losses(right, [0.0, 0.1, 1.0])
    low, high = right.get_ylim()
    assert [round(x, 6) for x in right.get_yticks() if low <= x <= high] == [0.1, 0.2, 0.5, 1.0]


@pytest.mark.parametrize("name", ["tiny", "SmolLM2-135M-Instruct.Q4_1.gguf", "organisation/" + "long-" * 12 + "name"])
def test_a_title_is_as_wide_as_the_figure_at_most(name):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = Figure(figsize=(3.4, 2.0))
    pictures.titled(figure, f"{name}, eps 0.001, 95 % intervals")
    drawing = FigureCanvasAgg(figure).get_renderer()
    across = figure._suptitle.get_window_extent(drawing)
    assert 0 <= across.x0 and across.x1 <= figure.bbox.width


def test_a_panel_each_and_no_more():
    for count, rows, wide in ((1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 3)):
        figure, made = pictures.panels(Path("x.png"), count)
        assert len(made) == count and len(figure.axes) == rows * wide
        assert [axes.axison for axes in figure.axes] == [True] * count + [False] * (rows * wide - count)
        assert tuple(figure.get_size_inches()) == pytest.approx((3.4 * wide, 2.8 * rows))
    assert len(pictures.panels(Path("x.png"), 3, columns=1)[0].axes) == 3


def test_the_picture_of_activations_has_every_block_and_no_embedding(monkeypatch):
    rows = [{"index": k - 1, "max": 10.0 + k, "mean": 2.0 + k, "median": 1.0 + k} for k in range(4)]
    facts = {"rows": rows, "rules": {"plateau": {"block": 1}}, "model": "m", "task": "t"}
    monkeypatch.setattr(activations_picture, "picture", lambda figure, path: figure)
    (axes,) = activations_picture._one(Path("x.png"), facts).axes
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert drawn == {
        "max": ([0, 1, 2], [11.0, 12.0, 13.0]),
        "mean": ([0, 1, 2], [3.0, 4.0, 5.0]),
        "median": ([0, 1, 2], [2.0, 3.0, 4.0]),
        "block 1": ([1], [12.0]),
    }
    assert axes.get_yscale() == "log"
