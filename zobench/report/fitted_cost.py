"""The cost model of a step (cost_model.py) fitted to step times of records, and how well it describes them. Light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import stats, text
from .cost_model import Fit, fit
from .record import Record


@dataclass(frozen=True)
class FittedCost:
    """One estimator with one setting of `engine` on one device. measured: seconds of a step by task and parameters."""

    name: str
    fit: Fit
    measured: Mapping[str, Mapping[int, float]]
    gamma: tuple[float, float] | None
    """The 95 % interval of the fit's gamma; None where there is one task, with one cell of each size."""

    @property
    def explained(self) -> float:
        """Of the variance of step times within tasks the share that the model explains."""
        rest = total = 0.0
        for task, steps in self.measured.items():
            mean = stats.mean(list(steps.values()))
            rest += sum((seconds - self.fit.step(task, n)) ** 2 for n, seconds in steps.items())
            total += sum((seconds - mean) ** 2 for seconds in steps.values())
        return 1 - rest / total if total else 1.0


def fitted(records: Iterable[Record]) -> list[FittedCost]:
    """A fit for each estimator, setting of `engine` and device, of those with two sizes of scopes on some task."""
    found: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for record in map(text.inert, records):
        scope, seconds = record["scope"], record["time"].get("step_s")
        if record["status"] == "ok" and scope is not None and seconds is not None:
            engine, device = record["cell"]["run_settings"].get("engine"), record["environment"].get("device")
            name = f"{record['cell']['estimator']}, engine={engine}, {device}"
            found[name][record["cell"]["task"]][scope["parameters"]].append(seconds)
    out = []
    for name, tasks in sorted(found.items()):
        measured = {task: {n: stats.mean(s) for n, s in sorted(steps.items())} for task, steps in sorted(tasks.items())}
        if any(len(steps) > 1 for steps in measured.values()):
            interval = stats.slope_interval([dict(sorted(steps.items())) for _, steps in sorted(tasks.items())])
            out.append(FittedCost(name, fit(measured), measured, interval))
    return out


def markdown(found: Sequence[FittedCost]) -> str:
    """A table a fit: step times as measured and as fitted, and how many times a step over the largest scope is."""
    parts = [
        "Step times are means of cells. In brackets the 95 % interval of gamma, from tasks and their cells drawn again "
        "(2,000 times); none where there is one task, with one cell of each size."
    ]
    for one in found:
        rows = []
        for task, steps in one.measured.items():
            full = max(steps)
            for n, seconds in sorted(steps.items(), reverse=True):
                rows.append(
                    [
                        task,
                        text.count(n),
                        text.milliseconds(seconds),
                        text.milliseconds(one.fit.step(task, n)),
                        text.ratio(steps[full] / seconds),
                        text.ratio(one.fit.ratio(task, full, n)),
                    ]
                )
        heads = ["task", "parameters", "ms a step", "fitted", "largest scope / this", "fitted (eq. 11)"]
        interval = "" if one.gamma is None else " ({:.3g} to {:.3g})".format(*(1e9 * end for end in one.gamma))
        said = (
            f"gamma = {1e9 * one.fit.gamma:.3g}{interval} ns a parameter; the model explains "
            f"{100 * one.explained:.1f} % of the variance of step times within tasks."
        )
        parts.append(f"## {one.name}\n\n{said}\n\n{text.table(heads, rows, left=1)}")
    return "\n\n".join(parts)


def facts(found: Sequence[FittedCost]) -> list[dict[str, Any]]:
    """For programs: the constants of each fit, in seconds, and what they were fitted to."""
    return [
        {
            "name": one.name,
            "gamma": one.fit.gamma,
            "gamma_low": None if one.gamma is None else one.gamma[0],
            "gamma_high": None if one.gamma is None else one.gamma[1],
            "forward_s": dict(one.fit.forward_s),
            "explained": one.explained,
            "measured": [
                {"task": task, "parameters": n, "step_s": seconds, "fitted_s": one.fit.step(task, n)}
                for task, steps in one.measured.items()
                for n, seconds in steps.items()
            ],
        }
        for one in found
    ]
