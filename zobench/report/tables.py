"""The tables of scores, each a pure function of a section; percentages. Costs and choices have their own modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from . import stats, text
from .compare import AVERAGE, Verdicts
from .entry import Entry, draw_of
from .record import NO_SELECTOR, ScoreInfo
from .rows import MethodRow, Section, average
from .stats import Draw, Effect

ITEMS_ALONE = "¹"
"""Marks an interval that lacks the variance between seeds: there is one seed."""

MARKS = {stats.BETTER: " ▲", stats.WORSE: " ▼"}


def heads(row: MethodRow) -> list[str]:
    """The first two cells of a row; references are in italics."""
    return [f"*{row.method}*", row.where] if row.reference else [row.method, row.where]


def zero_shot_scores(section: Section) -> dict[str, dict[Draw, ScoreInfo]]:
    """The untouched model's test score by task and data split, from the first record that has one: all are one run."""
    out: dict[str, dict[Draw, ScoreInfo]] = {}
    for record in section.records:
        if "zero_shot" in record["metrics"] and record["status"] == "ok":
            of_task, split = out.setdefault(record["cell"]["task"], {}), draw_of(record).split
            of_task.setdefault(Draw(split, 0), record["metrics"]["zero_shot"])
    return out


def plus_minus(effect: Effect | None) -> str:
    """` ± 1.9`, half the width of the 95 % interval in points; empty where it is not known."""
    if effect is None:
        return ""
    return f" ± {text.percent(effect.half())}{ITEMS_ALONE if effect.seeds_unseen else ''}"


def points(effect: Effect) -> str:
    """A difference with its interval: `+2.3 ± 1.9`."""
    return f"{text.signed(effect.mean)}{plus_minus(effect)}"


def without_one(effect: Effect | None) -> str:
    """The range of a mean over tasks when any one task is left out: `+1.2 to +3.0`."""
    found = None if effect is None else effect.without_one
    return text.NONE if found is None else " to ".join(map(text.signed, found))


def score_table(section: Section, verdicts: Verdicts) -> str:
    """Test scores: a row a method, a column a task, then the average over tasks and its gain over zero-shot."""
    tasks = section.scored
    rows = [] if _has_untouched(section) else [_zero_shot_row(section)]
    for row in section.rows:
        cells = [_bold(score(row, task), verdicts, task, row) for task in section.tasks]
        cells.append(_bold(_average(row, tasks), verdicts, AVERAGE, row))
        gain = None if row.untouched else row.gain(tasks)
        rows.append([*heads(row), *cells, _average_gain(row, tasks, gain), without_one(gain)])
    headers = [_with_metric(task, section) for task in section.tasks]
    return text.table(["method", "selector", *headers, AVERAGE, "gain", "without a task"], rows)


def _with_metric(task: str, section: Section) -> str:
    metrics = {s["metric"] for row in section.rows for s in row.entry(task).scores().values()} - {"accuracy"}
    return f"{task} ({', '.join(sorted(metrics))})" if metrics else task


def score(row: MethodRow, task: str) -> str:
    """`91.2 ± 0.4`; how it failed where it did; `-` where it was not run."""
    entry = row.entry(task)
    if not entry.done:
        return _failures(entry) or text.NONE
    shown = f"{text.percent(stats.mean(entry.values()))}{plus_minus(entry.effect)}"
    return shown + (f" ({_failures(entry)})" if entry.failed or entry.missing else "")


def _failures(entry: Entry) -> str:
    lost = {**entry.failed} | ({"missing": len(entry.missing)} if entry.missing else {})
    of = len(entry.records) + len(entry.missing)
    if of == 1:
        return ", ".join(lost)
    return ", ".join(f"{n} of {of} {status}" for status, n in sorted(lost.items()))


def _bold(shown: str, verdicts: Verdicts, column: str, row: MethodRow) -> str:
    standing = verdicts.best[column]
    return f"**{shown}**" if standing is not None and standing.bold and standing.best is row else shown


def _has_untouched(section: Section) -> bool:
    return any(row.untouched for row in section.rows)


def _zero_shot_row(section: Section) -> list[str]:
    scores = zero_shot_scores(section)
    means = {t: stats.mean([s["value"] for s in found.values()]) for t, found in scores.items()}
    effects = {t: _untouched(found) for t, found in scores.items()}
    cells = [f"{text.percent(means[t])}{plus_minus(effects[t])}" if t in scores else text.NONE for t in section.tasks]
    known = [one for one in effects.values() if one is not None]
    whole = stats.combine(known) if known and len(known) == len(scores) else None
    cells.append(f"{text.percent(stats.mean([*means.values()]))}{plus_minus(whole)}" if means else text.NONE)
    return ["*zero-shot*", NO_SELECTOR, *cells, text.NONE, text.NONE]


def _untouched(scores: Mapping[Draw, ScoreInfo]) -> Effect | None:
    items = {draw: score["items"] for draw, score in scores.items() if "items" in score}
    if len(items) == len(scores):
        clusters = {draw.split: score["clusters"] for draw, score in scores.items() if "clusters" in score}
        return stats.score(items, clusters, fixed=True)
    (score, *more) = scores.values()
    return None if more else stats.of_values({0: score["value"]}, score["stderr"], score["n"], fixed=True)


def _average(row: MethodRow, tasks: Sequence[str]) -> str:
    m = average(row, tasks)
    return text.NONE if m is None else f"{text.percent(m)}{plus_minus(row.effect(tasks))}"


def _average_gain(row: MethodRow, tasks: Sequence[str], gain: Effect | None) -> str:
    if row.untouched:
        return text.NONE
    if gain is not None:
        return points(gain)
    after, before = average(row, tasks), [row.entry(t).mean("zero_shot") for t in tasks if row.entry(t).done]
    return text.NONE if after is None else text.signed(after - stats.mean([b for b in before if b is not None]))


def spread_table(section: Section) -> str:
    """What the scores rest on: the deviation between seeds, the error of one seed over items, items and seeds."""

    def show(entry: Entry) -> str:
        if not entry.done:
            return text.NONE
        n = "/".join(str(n) for n in sorted({s["n"] for s in entry.scores().values()}))
        spread = stats.sample_std(entry.values()) if entry.trains else None
        shown = text.NONE if spread is None else text.percent(spread)
        return f"{shown}, {text.percent(entry.stderr())} ({len(entry.done)} × {n})"

    return by_task(section, show, section.rows)


def gain_table(section: Section, verdicts: Verdicts) -> str:
    """Gain over zero-shot by task, paired over items and seeds, marked where it holds."""
    places = {id(row): at for at, row in enumerate(section.rows)}

    def show(row: MethodRow, task: str) -> str:
        entry = row.entry(task)
        after, before = entry.mean(), entry.mean("zero_shot")
        if after is None or before is None:
            return text.NONE
        mark = MARKS.get(verdicts.gains.get((task, places[id(row)]), stats.SAME), "")
        return (text.signed(after - before) + plus_minus(entry.gain)) + mark

    rows = [row for row in section.rows if not row.untouched]
    body = [[*heads(row), *(show(row, task) for task in section.tasks)] for row in rows]
    return text.table(["method", "selector", *section.tasks], body)


def by_task(section: Section, show: Callable[[Entry], str], rows: Sequence[MethodRow]) -> str:
    """A table with a row a method and a column a task."""
    body = [[*heads(row), *(show(row.entry(task)) for task in section.tasks)] for row in rows]
    return text.table(["method", "selector", *section.tasks], body)


def trained(section: Section) -> list[MethodRow]:
    """The rows of methods that train."""
    return [row for row in section.rows if row.trains]


def distinct(shown: Sequence[str]) -> str:
    """The different texts among `shown`, joined by `or`."""
    return " or ".join(sorted(set(shown))) or text.NONE
