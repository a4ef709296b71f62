"""The tables of costs: parameters, time, memory, speed-ups, forward passes. Times are milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..reserved import HEADINGS
from . import stats, text
from .entry import Entry
from .record import Record
from .rows import MethodRow, Section
from .tables import by_task, distinct, heads, trained

FORWARDS = ("train", "extra", "backward", "eval", "calibration", "probe", "speed")
PHASES = ("forward_s", "perturb_s", "update_s")


def cost_table(section: Section, further: Mapping[str, Callable[[MethodRow], str]]) -> str:
    """What a method moves and what it takes: means over the tasks it finished; `further` are plugins' columns."""
    rows = []
    for row in section.rows:
        done = [r for task in section.tasks for r in row.entry(task).done.values()]
        tasks = sum(1 for task in section.tasks if row.entry(task).done)
        scopes = [scope for r in done if (scope := r["scope"]) is not None]
        times = [mean_time(row, section.tasks, key) for key in ("step_s", *PHASES)]
        rows.append(
            [
                *heads(row),
                f"{tasks}/{len(section.tasks)}",
                distinct([text.count(s["parameters"]) for s in scopes]),
                distinct([text.share(s["fraction"]) for s in scopes]),
                distinct([text.layers(s["layers"]) for s in scopes]),
                *(text.NONE if t is None else text.milliseconds(t) for t in times),
                _speedup(row, section.tasks),
                *(_largest(done, key) for key in ("peak_bytes", "weights_bytes", "state_bytes")),
                *(column(row) for column in further.values()),
            ]
        )
    return text.table([*HEADINGS, *further], rows)


def layer_table(section: Section) -> str:
    """The decoder blocks moved, by task; empty where every method moved the same ones on all tasks and seeds."""

    def moved(entry: Entry) -> str:
        return distinct([text.layers(s["layers"]) for r in entry.done.values() if (s := r["scope"]) is not None])

    def differs(row: MethodRow) -> bool:
        shown = {moved(row.entry(task)) for task in section.tasks if row.entry(task).done}
        return len(shown) > 1 or any(" or " in one for one in shown)

    return by_task(section, moved, [row for row in trained(section) if differs(row)])


def forwards_table(section: Section) -> str:
    """Forward passes of a cell by purpose: means over the cells that ended well."""
    purposes = [p for p in FORWARDS if p in ("train", "eval") or any(_of(r, p) for r in section.records)]
    purposes += sorted({p for r in section.records for p, n in r["forwards"].items() if n and p not in FORWARDS})
    rows = []
    for row in section.rows:
        done = [r for r in row.records if r["status"] == "ok"]
        cells = [text.count(stats.mean([_of(r, p) for r in done])) if done else text.NONE for p in purposes]
        rows.append([*heads(row), *cells])
    return text.table(["method", "selector", *purposes], rows)


def _of(record: Record, purpose: str) -> int:
    return record["forwards"].get(purpose, 0)


def speed_table(section: Section) -> str:
    """By task: the speed-up, the baseline's and the own milliseconds per step, and the own by phase."""

    def show(entry: Entry) -> str:
        measured = [r["speed"] for r in entry.done.values() if "speed" in r]
        if not measured:
            return text.NONE
        own = {k: stats.mean([s["own"][k] for s in measured]) for k in ("step_s", *PHASES)}  # type: ignore[literal-required]
        base = stats.mean([s["baseline"]["step_s"] for s in measured])
        phases = " + ".join(text.milliseconds(own[k]) for k in PHASES)
        speedup = text.ratio(stats.geometric_mean([s["ratio"] for s in measured]))
        return f"{speedup}: {text.milliseconds(base)} to {text.milliseconds(own['step_s'])} ({phases})"

    return by_task(section, show, [row for row in section.rows if ratios(row, section.tasks)])


def ratios(row: MethodRow, tasks: Sequence[str]) -> list[float]:
    """A row's speed-up by task (the geometric mean over seeds)."""
    found = [[r["speed"]["ratio"] for r in row.entry(t).done.values() if "speed" in r] for t in tasks]
    return [stats.geometric_mean(ratios) for ratios in found if ratios]


def _speedup(row: MethodRow, tasks: Sequence[str]) -> str:
    found = ratios(row, tasks)
    if not found:
        return text.NONE
    shown = text.ratio(stats.geometric_mean(found))
    return shown if len(found) == len(tasks) else f"{shown} ({len(found)} of {len(tasks)} tasks)"


def mean_time(row: MethodRow, tasks: Sequence[str], key: str) -> float | None:
    """Seconds of a phase (or `step_s`) in training: the mean over seeds, then over tasks; None where never timed."""
    by_task = [[r["time"][key] for r in row.entry(t).done.values() if r["time"].get(key) is not None] for t in tasks]
    means = [stats.mean(times) for times in by_task if times]
    return stats.mean(means) if means else None


def _largest(records: Sequence[Record], key: str) -> str:
    values = [r["memory"][key] for r in records if r["memory"].get(key) is not None]
    return text.size(max(values)) if values else text.NONE
