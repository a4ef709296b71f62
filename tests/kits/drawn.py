"""What a figure of matplotlib shows: its points, intervals, lines and names."""

from __future__ import annotations


def ends(container, horizontal=False):
    """Of one error bar of a container its point and the ends of its interval."""
    (line, _, (bars,)) = container.lines
    axis = 0 if horizontal else 1
    return [
        (float(x), float(y), *(float(one[axis]) for one in segment))
        for x, y, segment in zip(line.get_xdata(), line.get_ydata(), bars.get_segments(), strict=True)
    ]


def names(axes):
    return [one.get_text() for one in axes.get_yticklabels()]


def level(axes, style):
    """Where the lines of a style that cross the panel stand."""
    return [float(one.get_ydata()[0]) for one in axes.lines if one.get_linestyle() == style]


def dots(axes):
    """Its points and its other lines, each as (x, y, colour)."""
    found = {True: [], False: []}
    for one in axes.lines:
        x, y = ([*map(float, of)] for of in (one.get_xdata(), one.get_ydata()))
        found[one.get_marker() == "o"].append((x, y, one.get_color()))
    return found[True], found[False]


def of_legend(figure):
    return [one.get_text() for legend in figure.legends for one in legend.get_texts()]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.axison]
