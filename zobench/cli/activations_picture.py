"""The picture of `zobench analyze activations`: the paper's figure 2, of one task or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .common import figure_class, picture
from .pictures import titled

MARKS = {"plateau": ("*", 13, "tab:red"), "jump": ("s", 7, "tab:green"), "ratio": ("o", 7, "tab:orange")}
"""Of a rule's block: marker, its size, its colour."""


def drawn(path: Path, every: Sequence[Mapping[str, Any]]) -> bytes:
    """The bytes of the picture."""
    return _one(path, every[0]) if len(every) == 1 else _many(path, every)


def _one(path: Path, facts: Mapping[str, Any]) -> bytes:
    """Max, mean and median by block on a logarithmic axis, the plateau rule's block marked."""
    figure = figure_class(path)(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    rows = [row for row in facts["rows"] if row["index"] >= 0]
    blocks = [row["index"] for row in rows]
    for key, marker in (("max", "o"), ("mean", "s"), ("median", "^")):
        axes.plot(blocks, [row[key] for row in rows], marker=marker, markersize=3, label=key)
    chosen = facts["rules"]["plateau"]["block"]
    if chosen is not None:
        axes.plot([chosen], [rows[chosen]["max"]], "*", markersize=14, color="tab:red", label=f"block {chosen}")
    axes.set(yscale="log", xlabel="decoder block", ylabel="|h|", title=f"{facts['model']} on {facts['task']}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return picture(figure, path)


def _many(path: Path, every: Sequence[Mapping[str, Any]]) -> bytes:
    """Above, max/median by block, a line a task; below, the block that each rule chooses, a row a task."""
    height = 3.2 + 0.28 * len(every) + 0.8
    figure = figure_class(path)(figsize=(8, height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 0.28 * len(every) + 0.8))
    names = [facts["task"] for facts in every]
    for number, facts in enumerate(every):
        rows = [row for row in facts["rows"] if row["index"] >= 0 and row["ratio"] is not None]
        style = "-" if number < 10 else "--"
        above.plot(
            [row["index"] for row in rows], [row["ratio"] for row in rows], style, linewidth=1, label=names[number]
        )
    above.set(yscale="log", ylabel="max / median of |h|")
    above.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    above.grid(alpha=0.3)
    rules = list(every[0]["rules"])
    for at, rule in enumerate(rules):
        marker, size, colour = MARKS.get(rule, ("x", 7, "black"))
        shift = 0.18 * (at - (len(rules) - 1) / 2)  # markers of one block stand one above another
        chosen = [(facts["rules"][rule]["block"], n + shift) for n, facts in enumerate(every)]
        known = [pair for pair in chosen if pair[0] is not None]
        label = f"{rule}: {every[0]['rules'][rule]['condition']}"
        columns = [list(column) for column in zip(*known, strict=True)] or [[], []]
        below.plot(*columns, marker, markersize=size, color=colour, label=label)
    below.set(xlabel="decoder block", yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    below.grid(alpha=0.3)
    figure.legend(handles=below.get_legend_handles_labels()[0], loc="outside lower center", fontsize="x-small")
    titled(figure, f"{every[0]['model']}: the first outlier block by rule and task")
    return picture(figure, path)
