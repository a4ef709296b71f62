"""The data of board.html as JSON: plain text (the page escapes it), scores as fractions, times in ms, memory in B."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .. import stats, units
from ..entry import Entry
from ..first.lines import Line
from ..first.page import MOST_COMPARED, Screen
from ..leaderboard import Board
from ..record import NO_SELECTOR, Record
from ..rows import MethodRow, Section
from .again import command

ITEMS = (1, 8)
"""The fewest and the most test items of each kind that a cell names: the more cells, the fewer."""

ALL_ITEMS = 20_000
"""Test items of all cells together."""

POINTS = (10, 60)
"""The fewest and the most points of a curve: the more cells, the fewer."""

ALL_POINTS = 100_000
"""Points of all training curves together."""

Losses = Callable[[Record], Sequence[tuple[int, float]]]
"""The training losses of a record's chosen learning rate: (step, loss); empty where there is no log."""


def payload(board: Board, losses: Losses) -> dict[str, Any]:
    """Everything that the page needs."""
    shared = Shared()
    cells: list[dict[str, Any]] = []
    records = sum(len(section.records) for section in board.sections)
    most = Most(_shared(POINTS, ALL_POINTS, records), _shared(ITEMS, ALL_ITEMS // 2, records))
    made = []
    for number, (section, screen) in enumerate(zip(board.sections, board.screens, strict=True)):
        made.append(_section(section, screen))
        for at, row in enumerate(section.rows):
            cells += [_cell(number, at, record, shared, losses, most) for record in row.records]
    columns = list(cells[0]) if cells else []
    return {
        "sections": made,
        "columns": columns,
        "cells": [[cell[key] for key in columns] for cell in cells],
        "shared": shared.texts,
        "problems": list(map(plain, board.problems)),
    }


def plain(said: str) -> str:
    """A text of a section, which was made inert for Markdown, as it was."""
    return html.unescape(said)


def bare(said: str) -> str:
    """A sentence of the first screen without its bold."""
    return plain(said.replace("**", ""))


class Most(NamedTuple):
    """How much a cell may show."""

    points: int
    """Of a curve."""
    items: int
    """Of each kind."""


def _shared(bounds: tuple[int, int], all_: int, records: int) -> int:
    return max(bounds[0], min(bounds[1], all_ // max(1, records)))


class Shared:
    """JSON texts that many cells have in common, each once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def put(self, value: Any) -> int:
        """The place of a value."""
        text = plain(json.dumps(value, sort_keys=True, ensure_ascii=False))
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def _section(section: Section, screen: Screen) -> dict[str, Any]:
    words = screen.words
    return {
        "title": plain(words.title),
        "answer": bare(words.answer),
        "more": list(map(bare, words.more)),
        "counted": list(map(plain, words.counted)),
        "caption": plain(screen.caption),
        "model": plain(section.model),
        "unit": "%" if section.metric is None else f"100 × {plain(section.metric)}",
        "tasks": list(map(plain, section.tasks)),
        "rows": [_row(section, line) for line in screen.lines],
        "grid": _grid(section),
        "layers": _layers(section),
        "protocol": json.dumps(section.protocol, sort_keys=True),
    }


def _row(section: Section, line: Line) -> dict[str, Any]:
    row = line.row
    trained = [r["time"]["train_s"] for r in row.records if r["status"] == "ok" and r["time"].get("train_s")]
    return {
        "name": plain(row.name),
        "method": plain(row.method),
        "scope": plain(row.where),
        "reference": row.reference,
        "rank": None if line.rank is None else str(line.rank),
        "average": line.average,
        "half": None if line.effect is None else line.effect.half(),
        "gain": line.gained,
        "control": None if line.control is None else line.control.mean,
        "p": line.control_p,
        "verdict": line.control_verdict,
        "counts": None if line.counts is None else [line.counts.better, line.counts.same, line.counts.worse],
        "share": None if line.share is None else line.share[1],
        "speedup": line.speedup,
        "ms": None if line.step_s is None else 1e3 * line.step_s,
        "bytes": line.peak_bytes,
        "forwards": line.forwards,
        "seconds": stats.mean(trained) if trained else None,
        "scores": {plain(task): _score(row.entry(task)) for task in section.tasks},
    }


def _score(entry: Entry) -> list[float | None] | None:
    mean = entry.mean()
    return None if mean is None else [mean, None if entry.effect is None else entry.effect.half()]


def _grid(section: Section) -> dict[str, Any]:
    """Tasks on which each method is better, not told apart, or worse than each other, at a false discovery rate."""
    rows = [row for row in section.rows if row.trains][:MOST_COMPARED]
    found = {
        (a, b, task): rows[a].entry(task).minus(rows[b].entry(task))
        for a in range(len(rows))
        for b in range(a)
        for task in section.scored
    }
    told = stats.discoveries(found)
    cells = []
    for a in range(len(rows)):
        for b in range(a):
            said = [told[a, b, task] for task in section.scored if told[a, b, task] != stats.UNTESTED]
            if said:
                better, worse = said.count(stats.BETTER), said.count(stats.WORSE)
                cells.append([a, b, better, len(said) - better - worse, worse])
    return {"names": [plain(row.name) for row in rows], "cells": cells}


def _layers(section: Section) -> list[dict[str, Any]]:
    """Scores of single blocks, where layers were swept: two of them or more with one estimator on one task."""
    found: dict[tuple[str, str], dict[int, MethodRow]] = {}
    for row in section.rows:
        name, colon, _ = row.selector.partition(":")
        if name not in section.known.one_block or not colon:
            continue
        for task, entry in row.entries.items():
            blocks = {tuple(r["scope"]["layers"]) for r in entry.done.values() if r["scope"] is not None}
            if len(blocks) == 1 and len(one := next(iter(blocks))) == 1:
                found.setdefault((row.method, task), {})[one[0]] = row
    return [
        {
            "method": plain(method),
            "task": plain(task),
            "block": block,
            "score": row.entry(task).mean(),
            "half": None if (effect := row.entry(task).effect) is None else effect.half(),
        }
        for (method, task), blocks in sorted(found.items())
        if len(blocks) > 1
        for block, row in sorted(blocks.items())
    ]


def _cell(section: int, at: int, record: Record, shared: Shared, losses: Losses, most: Most) -> dict[str, Any]:
    cell, metrics, time = record["cell"], record["metrics"], record["time"]
    test = metrics.get("test")
    return {
        "id": plain(record["id"]),
        "section": section,
        "row": at,
        "task": plain(cell["task"]),
        "seed": cell["seed"],
        "status": record["status"],
        "engine": record["engine"]["engine"] if "engine" in record else None,
        "steps": record["protocol"].get("steps"),
        "score": None if test is None else test["value"],
        "stderr": None if test is None else test["stderr"],
        "metric": None if test is None else test["metric"],
        "percent": test is None or test["metric"] in units.FRACTIONS,
        "zero": _value(metrics.get("zero_shot")),
        "dev": _value(metrics.get("dev")),
        "lr": record["chosen"]["lr"] if "chosen" in record else None,
        "step": record["chosen"]["step"] if "chosen" in record else None,
        "ms": _ms(time.get("step_s")),
        "seconds": _short(time.get("total_s")),
        "bytes": record["memory"].get("peak_bytes"),
        "speedup": _short(record["speed"]["ratio"]) if "speed" in record else None,
        "forwards": sum(n for what, n in record["forwards"].items() if what in ("train", "extra")),
        "error": None if record["error"] is None else plain(record["error"]),
        "settings": shared.put({k: v for k, v in cell.items() if k.endswith("settings")}),
        "environment": shared.put({k: v for k, v in record["environment"].items() if k not in ("command", "started")}),
        "again": shared.put(command(record, task="{task}", seed="{seed}")),
        "layers": [] if record["scope"] is None else record["scope"]["layers"],
        "items": None
        if cell["selector"] == NO_SELECTOR
        else _items(metrics, record.get("data", {}).get("answers", []), most.items),
        "trials": [[t["lr"], t["status"], *_curve(t["curve"], most.points, shared)] for t in record["trials"]],
        "losses": _curve(losses(record), most.points, shared),
    }


def _value(score: Any) -> float | None:
    return None if score is None else score["value"]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _short(1e3 * seconds)


def _short(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.4g}")


def _items(metrics: Mapping[str, Any], answers: Sequence[str], most: int) -> dict[str, Any] | None:
    """Test items that tuning made better, and worse: how many; of `most` each score and prediction, before and after.

    Items are numbers, and so are answers, but where all items have the same candidates, whose words are the task's: a
    text of an item may not be kept.
    """
    before, after = (metrics.get(name, {}) for name in ("zero_shot", "test"))
    was, now = before.get("items"), after.get("items")
    if not was or not now or len(was) != len(now):
        return None
    won = [i for i, (b, a) in enumerate(zip(was, now, strict=True)) if a > b]
    lost = [i for i, (b, a) in enumerate(zip(was, now, strict=True)) if a < b]
    said = [before.get("predicted"), after.get("predicted")]

    def first(some: Sequence[int]) -> list[list[Any]]:
        words = [[plain(_word(one[i], answers)) if one else None for one in said] for i in some[:most]]
        return [[i, _short(was[i]), _short(now[i]), *both] for i, both in zip(some, words, strict=False)]

    return {"n": len(now), "won": len(won), "lost": len(lost), "first": [first(won), first(lost)]}


def _word(candidate: int, answers: Sequence[str]) -> str:
    """What was predicted, in a word."""
    if candidate < 0:
        return "nothing"
    return answers[candidate].strip() if candidate < len(answers) else f"candidate {candidate}"


def _curve(points: Sequence[tuple[int, float]], most: int, shared: Shared) -> list[Any]:
    """[the place of its steps, its losses]."""
    some = thin(points, most)
    return [shared.put([step for step, _ in some]), [_short(loss) for _, loss in some]]


def thin(curve: Sequence[tuple[int, float]], most: int) -> Sequence[tuple[int, float]]:
    """At most `most` points of a curve, evenly spaced, with the first and the last."""
    if len(curve) <= most:
        return curve
    step = (len(curve) - 1) / (most - 1)
    return [curve[round(i * step)] for i in range(most)]
