"""What moves around the dominant block (around.py) as a page and as JSON. Light."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import facts as facts_of
from . import stats, text
from .around import Around, verdicts
from .entry import Entry
from .rows import MethodRow, average
from .stats import Verdict
from .tables import MARKS, plus_minus, points

HOW = (
    "Test, in percent, ± half of the 95 % interval over seeds and test items (¹: one seed, over test items alone). "
    "Average: over the tasks that every row has. Share of the gain: of what the block alone gains over the untouched "
    "model on that average, with its 95 % interval (Fieller). Difference: paired over seeds and items, to the row in "
    "*italics*, in points; ▲ ▼: better or worse beyond chance, =: as good within {:g} points; Holm-corrected over all "
    "{} comparisons of this page, with {} seeds or more."
)


def markdown(found: Sequence[Around], margin: float) -> str:
    """A table an estimator, with the untouched model above; and what each row has of the block's gain, in words.

    margin: the difference, a fraction, within which two rows are as good as each other.
    """
    told = verdicts(found, margin)
    parts = [HOW.format(100 * margin, sum(one != stats.UNTESTED for one in told.values()), stats.MARK_SEEDS)]
    for at, group in enumerate(found):
        body = [["zero-shot", "0", "", *_untouched(group), "", ""]]
        for k, row in enumerate(group.shown):
            body.append(_line(group, row, told.get((at, k), stats.UNTESTED)))
        heads = ["what moves", "parameters", "of the block", *group.tasks, "average", "share of the gain", "difference"]
        parts.append(f"## {_title(group)}\n\n{text.table(heads, body, left=1)}\n\n{_said(group)}")
    return "\n\n".join(parts) + "\n"


def _title(group: Around) -> str:
    return f"{group.method}, block {text.layers(group.indices)}"


def _said(group: Around) -> str:
    """Which tasks are averaged, and what could not be."""
    tasks = ", ".join(group.averaged) or text.NONE
    lines = [f"average over {tasks}"]
    if group.block.gain(group.averaged) is not None and group.share(group.block) is None:
        lines.append("the block's own gain is not told apart from none: no share of it can be said")
    return text.bullets([f"{line}." for line in lines])


def _line(group: Around, row: MethodRow, verdict: Verdict) -> list[str]:
    own, block = row is group.block, group.parameters(group.block) or 0.0
    size = group.parameters(row)
    share, effect = None if own else group.share(row), None if own else group.against(row)
    difference = text.NONE if effect is None else points(effect) + (MARKS | {stats.EQUAL: " ="}).get(verdict, "")
    return [
        f"*{row.where}*" if own else row.where,
        text.NONE if size is None else text.count(size),
        text.NONE if size is None or not block else text.share(size / block),
        *(_score(row.entry(task)) for task in group.tasks),
        _average(row, group.averaged),
        "" if own else text.NONE if share is None else _share(share),
        "" if own else difference,
    ]


def _score(entry: Entry) -> str:
    mean = entry.mean()
    if mean is None:
        return ", ".join(entry.failed) or text.NONE
    lost = sum(entry.failed.values()) + len(entry.missing)
    of = f" ({len(entry.done)} of {len(entry.done) + lost} seeds)" if lost else ""
    return f"{text.percent(mean)}{plus_minus(entry.effect)}{of}"


def _average(row: MethodRow, tasks: Sequence[str]) -> str:
    mean = average(row, tasks)
    return text.NONE if mean is None else f"{text.percent(mean)}{plus_minus(row.effect(tasks))}"


def _untouched(group: Around) -> list[str]:
    """The untouched model's scores, and their mean over the tasks that are averaged."""
    found = {task: group.block.entry(task).mean("zero_shot") for task in group.tasks}
    known = [mean for task in group.averaged if (mean := found[task]) is not None]
    shown = [text.NONE if mean is None else text.percent(mean) for mean in found.values()]
    return [*shown, text.percent(stats.mean(known)) if known else text.NONE]


def _share(found: tuple[float, float, float]) -> str:
    middle, low, high = (f"{100 * one:.0f}" for one in found)
    return f"{middle} % ({low} to {high})"


# ---- for programs


def facts(found: Sequence[Around], margin: float) -> list[dict[str, Any]]:
    """The same numbers, unrounded, fractions; None where one is not known."""
    told = verdicts(found, margin)
    return [
        {
            "method": group.method,
            "blocks": list(group.indices),
            "averaged": list(group.averaged),
            "zero_shot": {task: group.block.entry(task).mean("zero_shot") for task in group.tasks},
            "rows": [_facts(group, row, told.get((at, k), stats.UNTESTED)) for k, row in enumerate(group.shown)],
        }
        for at, group in enumerate(found)
    ]


def _facts(group: Around, row: MethodRow, verdict: Verdict) -> dict[str, Any]:
    effect = None if row is group.block else group.against(row)
    share = None if row is group.block else group.share(row)
    return {
        "selector": row.where,
        "parameters": group.parameters(row),
        "tasks": {task: facts_of.entry(row.entry(task)) for task in group.tasks},
        "average": facts_of.effect(row.effect(group.averaged), average(row, group.averaged)),
        "share_of_gain": None if share is None else dict(zip(("share", "low", "high"), share, strict=True)),
        "difference": facts_of.effect(effect),
        "verdict": verdict,
    }
