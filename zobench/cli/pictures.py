"""What pictures of records share: panels side by side, a colour and a dash a method, axes that end where data do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..report.text import natural
from .common import figure_class

DASHES = ("-", "--", ":", "-.")
COLUMNS = 3
"""Panels beside each other, if nothing is said."""
_LETTERS = 12
"""Of a title, an inch."""


def panels(
    path: Path, count: int, *, columns: int = COLUMNS, size: tuple[float, float] = (3.4, 2.8), beside: float = 0.0
) -> tuple[Any, list[Any]]:
    """A figure and its `count` panels, each of `size` inches; `beside`: inches at the right, for a legend."""
    wide = max(1, min(columns, count))
    rows = -(-count // wide)
    figure = figure_class(path)(figsize=(size[0] * wide + beside, size[1] * rows), layout="constrained")
    made = list(figure.subplots(rows, wide, squeeze=False).flat)
    for axes in made[count:]:
        axes.set_axis_off()
    return figure, made[:count]


def colours(count: int) -> list[Any]:
    """Colours that differ: ten, twenty, or as many as there are hues."""
    from matplotlib import colormaps

    if count <= 20:
        return [colormaps["tab10" if count <= 10 else "tab20"](k) for k in range(count)]
    return [colormaps["hsv"](k / count) for k in range(count)]


def styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of each method `estimator / selector` a colour and a dash, in their natural order.

    A colour an estimator and a dash a selector, where there are several estimators and no more selectors than dashes.
    """
    every = sorted(set(names), key=natural)
    pairs = {name: name.partition(" / ")[::2] for name in every}
    firsts, seconds = (sorted({pair[k] for pair in pairs.values()}, key=natural) for k in (0, 1))
    if len(firsts) > 1 and len(seconds) <= len(DASHES):
        of = dict(zip(firsts, colours(len(firsts)), strict=True))
        return {n: {"color": of[a], "linestyle": DASHES[seconds.index(b)]} for n, (a, b) in pairs.items()}
    each = zip(every, colours(len(every)), strict=True)
    return {name: {"color": colour, "linestyle": "-"} for name, colour in each}


def legend(figure: Any, lines: dict[str, Any], order: Iterable[str]) -> None:
    """One legend for all panels, at the right."""
    shown = [name for name in order if name in lines]
    figure.legend([lines[name] for name in shown], shown, loc="outside right center", fontsize="small")


def percents(axes: Any, axis: str = "y") -> None:
    """End an axis of percentages where they do: an interval that is longer is cut off there."""
    low, high = getattr(axes, f"get_{axis}lim")()
    getattr(axes, f"set_{axis}lim")(max(low, -2.0), min(high, 102.0))


def losses(axes: Any, means: Sequence[float]) -> None:
    """A logarithmic axis of losses that ends a little beyond their means: intervals that are longer are cut off."""
    from matplotlib.ticker import LogLocator, NullFormatter

    known = [mean for mean in means if mean > 0]
    if not known:
        return
    apart = max(known) / min(known)
    room = 1.05 * apart**0.08
    axes.set(yscale="log", ylim=(min(known) / room, max(known) * room))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if apart > 3 else tuple(range(1, 10))))
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def below(mean: float, half: float) -> float:
    """How far an interval goes down from a mean on a logarithmic axis: never to 0."""
    return min(half, mean * (1 - 1e-3)) if mean > 0 else 0.0


def titled(figure: Any, text: str) -> None:
    """A title over all panels, in lines as wide as the figure: names of models may be long."""
    room = int(figure.get_figwidth() * _LETTERS)
    figure.suptitle("\n".join(textwrap.wrap(text, room)), fontsize="medium")
