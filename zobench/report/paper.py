"""The paper's numbers beside ours. They are printed numbers: no error bars, no part in our statistics, never bold.

Source: paper.json, the tables of arXiv 2606.05516 (1 to 3: scores; 4 and 13: seconds per step).
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import text
from .rows import Row, Section, average

SCORE_TABLES = ("1", "2", "3")
AVERAGE = "average"


@functools.cache
def numbers() -> dict[str, Any]:
    """paper.json. Its scores are percentages, its times seconds."""
    source = importlib.resources.files(__package__).joinpath("paper.json")
    loaded: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    return loaded


def model_key(name: str) -> str:
    """What names of the same model share: `meta-llama/Llama-2-7b-hf` and `LLaMA2-7B` are `llama27b`."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9]", "", last.removesuffix("-hf"))


def models() -> list[str]:
    """The models whose scores the paper prints, in its order."""
    return list(dict.fromkeys(table["model"] for table in _score_tables()))


def beside(section: Section) -> str:
    """For a section of a model that the paper has: its rows, ours under them, and the difference. Else empty."""
    model = next((m for m in models() if model_key(m) == model_key(section.model)), None)
    return "" if model is None else _block(model, section)


def apart(shown: Sequence[Section]) -> str:
    """The paper's tables of models that no section shows; empty where there is none."""
    known = {model_key(section.model) for section in shown}
    blocks = [_block(model, None) for model in models() if model_key(model) not in known]
    return "\n\n".join(blocks)


def _score_tables() -> list[dict[str, Any]]:
    return [table for table in numbers()["scores"] if table["table"] in SCORE_TABLES]


def _block(model: str, section: Section | None) -> str:
    rows, tables = _paper_rows(model)
    tasks = [task for task in dict.fromkeys(t for _, scores in rows for t in scores) if task != AVERAGE]
    body: list[list[str]] = []
    for paper, scores in rows:
        body.append([f"paper: {paper['method']}", "-", *(_number(scores.get(t)) for t in (*tasks, AVERAGE))])
        for row in _ours(paper, section):
            body += _comparison(row, scores, tasks)
    title = f"The paper's numbers for {model}" + ("" if section is None else ", with ours under them")
    source = numbers()["source"]
    caption = (
        f"Copied from arXiv {source['arxiv']}, table{'s'[: len(tables) != 1]} {', '.join(tables)}: percentages as "
        "printed, without error bars or a number of seeds; no part of any statistic of this board."
    )
    if section is None:
        caption += " **Another model than those above**: not to be compared with them."
    parts = [f"### {title}", caption, text.table(["method", "selector", *tasks, AVERAGE], body)]
    return "\n\n".join(parts + _speed(model))


def _paper_rows(model: str) -> tuple[list[tuple[dict[str, Any], Mapping[str, float]]], list[str]]:
    """(the rows of a model, each method once, from the first table that has it; the tables used)."""
    rows: dict[str, tuple[dict[str, Any], Mapping[str, float]]] = {}
    tables: list[str] = []
    for table in _score_tables():
        fresh = [row for row in table["rows"] if row["method"] not in rows] if table["model"] == model else []
        rows |= {row["method"]: (row, row["scores"]) for row in fresh}
        tables += [table["table"]] if fresh else []
    return list(rows.values()), tables


def _ours(paper: Mapping[str, Any], section: Section | None) -> list[Row]:
    if section is None or paper["estimator"] is None:
        return []
    return [r for r in section.rows if (r.estimator, r.selector) == (paper["estimator"], paper["selector"])]


def _comparison(row: Row, paper: Mapping[str, float], tasks: Sequence[str]) -> list[list[str]]:
    """Our row, and ours minus the paper's. The average is over the paper's tasks, where we have them all."""
    printed = [task for task in tasks if task in paper]
    ours: dict[str, float | None] = {task: row.entry(task).mean() for task in tasks}
    ours[AVERAGE] = average(row, printed)
    cells, differences = [], []
    for task in (*tasks, AVERAGE):
        own, theirs = ours[task], paper.get(task)
        cells.append(text.NONE if own is None else text.percent(own))
        differences.append(text.NONE if own is None or theirs is None else text.signed(own - theirs / 100))
    return [[f"ours: {row.method}", row.where, *cells], ["ours - paper", "-", *differences]]


def _number(value: float | None) -> str:
    return text.NONE if value is None else f"{value:.2f}"


def _speed(model: str) -> list[str]:
    speed = numbers()["speed"]
    if speed["model"] != model:
        return []
    tasks = list(speed["rows"][0]["tasks"])
    full = speed["rows"][0]["tasks"]
    body = []
    for row in speed["rows"]:
        cells = []
        for task in tasks:
            t = row["tasks"][task]
            phases = " + ".join(text.milliseconds(t[k]) for k in ("forward_s", "perturb_s", "update_s"))
            gain = full[task]["total_s"] / t["total_s"]
            cells.append(f"{text.ratio(gain)}: {text.milliseconds(t['total_s'])} ({phases})")
        body.append([f"paper: {row['method']}", *cells])
    caption = (
        f"The paper's milliseconds per step (tables {speed['table']}: {model}, {speed['dtype']}, {speed['hardware']}, "
        f"batch {speed['batch_size']}): speed-up over its full-model MeZO: total (forward + perturb + update). Its "
        "Sparse-MeZO is timed without making the mask. Another machine than ours: compare speed-ups, not times."
    )
    return [caption, text.table(["method", *tasks], body, left=1)]
