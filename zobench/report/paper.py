"""The paper's numbers beside ours. They are printed numbers: no error bars, no part in our statistics, never bold.

Source: papers/dominant-layer.toml, the tables of arXiv 2606.05516 (1 to 3, 5, 6, 10: scores; 11 and 12: single layers;
4 and 13: seconds per step). Which of our rows is which of its: paper_join.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from . import paper_join, papers, stats, text
from .known import NOTHING
from .rows import MethodRow, Section, average

SCORE_TABLES = ("1", "2", "3", "5", "6", "10")
AVERAGE = "average"
PROTOCOL_KEYS = {
    "steps": "zo_steps",
    "eval_every": "eval_every",
    "lr_schedule": "zo_lr_schedule",
    "weight_decay": "weight_decay",
    "num_train": "train",
    "num_test": "test",
}
"""Our protocol's settings and what the paper's file calls them."""


def numbers() -> Mapping[str, Any]:
    """The paper's file. Its scores are percentages, its times seconds."""
    return papers.read("dominant-layer").data


def model_key(name: str) -> str:
    """What names of the same model share: `meta-llama/Llama-2-7b-hf` and `LLaMA2-7B` are `llama27b`."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9]", "", last.removesuffix("-hf"))


def protocol_differences(protocol: Mapping[str, Any]) -> list[str]:
    """Where a protocol has other numbers than the paper's, in one line; empty where it has none."""
    theirs = numbers()["source"]["protocol"]
    found = [
        f"{ours} {text.value(protocol[ours])} (paper: {text.value(theirs[key])})"
        for ours, key in PROTOCOL_KEYS.items()
        if ours in protocol and protocol[ours] != theirs[key]
    ]
    if protocol.get("num_dev") is not None:  # none: the task's own, which are the paper's
        found.append(
            f"num_dev {protocol['num_dev']} (paper: {theirs['dev']}; 100 for {', '.join(theirs['dev_100_tasks'])})"
        )
    return [f"not the paper's sizes: {', '.join(found)}"] if found else []


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
    return "\n\n".join(_block(model, None) for model in models() if model_key(model) not in known)


def _score_tables() -> list[dict[str, Any]]:
    return [table for table in numbers()["scores"] if table["table"] in SCORE_TABLES]


def _block(model: str, section: Section | None) -> str:
    caption = (
        f"Copied from arXiv {numbers()['source']['arxiv']}: percentages as printed, without error bars or a number of "
        "seeds; no part of any statistic of this board."
    )
    if section is None:
        title = f"### The paper's numbers for {model}"
        caption += " **Another model than those above**: not to be compared with them."
    else:
        title = f"### The paper's numbers for {model}, with ours under them"
    parts = [title, caption]
    for printed in (one for one in _score_tables() if one["model"] == model):
        parts += [f"Its table {printed['table']}:", _scores(printed["rows"], section, dominant(model))]
    for printed in (one for one in numbers()["layerwise"] if one["model"] == model):
        parts += [f"Its table {printed['table']}, {printed['method']} on each layer alone:", _layers(printed, section)]
    return "\n\n".join(parts + _speed(model, section))


def dominant(model: str) -> int:
    """The block that is dominant in a model of the paper."""
    return int(numbers()["dominant_layer"][model]["index"])


def _scores(printed: Sequence[Mapping[str, Any]], section: Section | None, block: int) -> str:
    """One of its tables: its average is over its own tasks, so tables are not merged."""
    tasks = [task for task in printed[0]["scores"] if task != AVERAGE]
    last = [AVERAGE] if AVERAGE in printed[0]["scores"] else []
    body: list[list[str]] = []
    for row in printed:
        scores = row["scores"]
        body.append([f"paper: {row['method']}", *(as_printed(scores.get(t)) for t in (*tasks, *last))])
        for own in paper_join.ours(row, block, section):
            body += _comparison(own, scores, tasks, last)
    return text.table(["method", *tasks, *last], body, left=1)


def _layers(printed: Mapping[str, Any], section: Section | None) -> str:
    """A row a block: the paper's scores, and ours under those that we have."""
    tasks, known = list(printed["full"]), NOTHING if section is None else section.known
    rows = [("zero-shot", printed["zero_shot"]), ("full", printed["full"])]
    rows += [(f"layer {n}", scores) for n, scores in enumerate(printed["layers"])]
    body: list[list[str]] = []
    for n, (name, scores) in enumerate(rows, start=-2):
        body.append([f"paper: {name}", *(as_printed(scores.get(t)) for t in tasks)])
        for own in section.rows if section is not None and n != -2 else ():
            found = own.selector in known.everything if n == -1 else paper_join.of_blocks(own, [n], known)
            if found and own.estimator == printed["estimator"]:
                body += _comparison(own, scores, tasks, [])
    return text.table(["layer", *tasks], body, left=1)


def _comparison(
    row: MethodRow, paper: Mapping[str, float], tasks: Sequence[str], last: Sequence[str]
) -> list[list[str]]:
    """Our row, ours minus the paper's, and whether theirs lies in our 95 % interval.

    The average is over the table's tasks, where we have them all.
    """
    ours: dict[str, float | None] = {task: row.entry(task).mean() for task in tasks}
    effects = {task: row.entry(task).effect for task in tasks}
    if last:
        ours[AVERAGE], effects[AVERAGE] = average(row, tasks), row.effect(tasks)
    cells, differences, inside = [], [], []
    for task in (*tasks, *last):
        own, theirs, effect = ours[task], paper.get(task), effects[task]
        cells.append(text.NONE if own is None else text.percent(own))
        known = own is not None and theirs is not None
        differences.append(text.signed(own - theirs / 100) if known else text.NONE)  # type: ignore[operator]
        if not known or effect is None:
            inside.append(text.NONE)
        else:
            inside.append("yes" if abs(own - theirs / 100) <= effect.half() else "no")  # type: ignore[operator]
    return [[f"ours: {row.name}", *cells], ["ours - paper", *differences], ["inside our 95 %", *inside]]


def _measured(row: MethodRow, task: str) -> str:
    """Our speed-up over full MeZO in the official order, and our milliseconds, where a cell measured them."""
    found = [r["speed"] for r in row.entry(task).done.values() if "speed" in r]
    if not found:
        return text.NONE
    own = stats.mean([one["own"]["step_s"] for one in found])
    return f"{text.ratio(stats.geometric_mean([one['ratio'] for one in found]))}: {text.milliseconds(own)}"


def as_printed(value: float | None) -> str:
    """A number as the papers print theirs."""
    return text.NONE if value is None else f"{value:.2f}"


def _speed(model: str, section: Section | None) -> list[str]:
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
        for own in paper_join.ours(row, dominant(model), section):
            body.append([f"ours: {own.name}", *(_measured(own, task) for task in tasks)])
    caption = (
        f"The paper's milliseconds per step (tables {speed['table']}: {model}, {speed['dtype']}, {speed['hardware']}, "
        f"batch {speed['batch_size']}): speed-up over its full-model MeZO: total (forward + perturb + update). Its "
        "Sparse-MeZO is timed without making the mask. Another machine than ours: compare speed-ups, not times."
    )
    return [caption, text.table(["method", *tasks], body, left=1)]
