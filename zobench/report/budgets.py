"""How fast methods reduce the dev loss, by forwards and by seconds: area under the curve, cost of a target. Light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import stats, text
from .record import Record
from .sections import reported
from .sensitivity import plus_minus
from .stats import Effect


@dataclass(frozen=True)
class DevCurve:
    """The dev losses of one run at the rate that dev chose, and what a step of it costs."""

    at: tuple[tuple[int, float], ...]
    """(step, dev loss)."""
    forwards: float
    """Of a step, those on further batches too."""
    seconds: float | None
    """The median of a step."""

    def spent(self) -> float:
        """Forwards until the last look at dev."""
        return self.at[-1][0] * self.forwards

    def area(self, forwards: float) -> float:
        """The mean dev loss from the first look until so many forwards, by trapezoids."""
        points = [
            (step * self.forwards, loss) for step, loss in self.at if step * self.forwards <= forwards * (1 + 1e-9)
        ]
        if len(points) == 1:
            return points[0][1]
        parts = list(zip(points, points[1:], strict=False))
        whole = sum((b - a) * (x + y) / 2 for (a, x), (b, y) in parts)
        return whole / (points[-1][0] - points[0][0])

    def steps_to(self, target: float) -> int | None:
        """The first look at which the dev loss is no higher; None where none is."""
        return next((step for step, loss in self.at if loss <= target), None)


@dataclass(frozen=True)
class Speedily:
    """One method on one task, over seeds."""

    name: str
    runs: tuple[DevCurve, ...]

    def best(self) -> float:
        """The mean over seeds of the lowest dev loss."""
        return stats.mean([min(loss for _, loss in run.at) for run in self.runs])


def gathered(records: Iterable[Record]) -> dict[str, list[Speedily]]:
    """By task the methods with curves."""
    found: dict[tuple[str, str], list[DevCurve]] = defaultdict(list)
    for record in map(text.inert, filter(reported, records)):
        curve = _curve(record) if record["status"] == "ok" and "chosen" in record else None
        if curve is not None:
            cell = record["cell"]
            found[cell["task"], f"{cell['estimator']} / {cell['selector']}"].append(curve)
    out: dict[str, list[Speedily]] = defaultdict(list)
    for (task, name), runs in sorted(found.items()):
        out[task].append(Speedily(name, tuple(runs)))
    return dict(out)


def _curve(record: Record) -> DevCurve | None:
    trials = record.get("trials", [])
    steps = sum(trial.get("steps", 0) for trial in trials)
    spent = record["forwards"].get("train", 0) + record["forwards"].get("extra", 0)
    chosen = next((t for t in trials if t["lr"] == record["chosen"]["lr"]), None)
    if chosen is None or not steps or not chosen.get("curve"):
        return None
    at = tuple((step, loss) for step, loss in chosen["curve"] if loss is not None)
    return DevCurve(at, spent / steps, record["time"].get("step_s")) if at else None


def target_of(methods: Sequence[Speedily]) -> float:
    """The dev loss that every method of a task reaches on average: the highest of their best."""
    return max(one.best() for one in methods)


def markdown(found: Mapping[str, Sequence[Speedily]]) -> str:
    """A table a task."""
    parts = [
        "Dev losses at the rates that dev chose, by what was spent on training. Area: the mean dev loss from the first "
        "look at dev until the forwards that all methods of the task spent. Target: the highest of the methods' best "
        "dev losses, so that each reaches it on average; to target: what was spent by the first look at which a run "
        "was there. Means over the seeds that got there, ± half of the 95 % interval over seeds."
    ]
    for task, methods in found.items():
        shared, target = min(run.spent() for one in methods for run in one.runs), target_of(methods)
        body = [_line(one, shared, target) for one in sorted(methods, key=lambda one: _area(one, shared))]
        heads = ["method", "seeds", f"area to {shared:.0f} forwards", f"forwards to {target:.4f}", "seconds", "there"]
        parts.append(f"## {task}\n\n{text.table(heads, body, left=1)}")
    return "\n\n".join(parts) + "\n"


def _area(one: Speedily, shared: float) -> float:
    return stats.mean([run.area(shared) for run in one.runs])


def _line(one: Speedily, shared: float, target: float) -> list[str]:
    there = [(run, step) for run in one.runs if (step := run.steps_to(target)) is not None]
    seconds = [step * run.seconds for run, step in there if run.seconds is not None]
    return [
        one.name,
        str(len(one.runs)),
        _over_seeds([run.area(shared) for run in one.runs], 4),
        _over_seeds([step * run.forwards for run, step in there], 0),
        _over_seeds(seconds, 1),
        f"{len(there)} of {len(one.runs)}",
    ]


def over_seeds(values: Sequence[float]) -> Effect | None:
    """Their mean with its uncertainty; None for fewer than two."""
    return stats.score({0: list(values)}) if len(values) > 1 else None


def _over_seeds(values: Sequence[float], decimals: int) -> str:
    if not values:
        return text.NONE
    effect = over_seeds(values)
    return f"{stats.mean(values):.{decimals}f}" if effect is None else plus_minus(effect, decimals)


def facts(found: Mapping[str, Sequence[Speedily]]) -> list[dict[str, Any]]:
    """For programs: every run of each method on each task, what was shared, and the target."""
    return [
        {
            "task": task,
            "forwards": (shared := min(run.spent() for one in methods for run in one.runs)),
            "target": (target := target_of(methods)),
            "methods": [{"method": one.name, "runs": _runs(one, shared, target)} for one in methods],
        }
        for task, methods in found.items()
    ]


def _runs(one: Speedily, shared: float, target: float) -> list[dict[str, Any]]:
    return [
        {"area": run.area(shared), "steps_to_target": run.steps_to(target), "forwards": run.forwards, "s": run.seconds}
        for run in one.runs
    ]
