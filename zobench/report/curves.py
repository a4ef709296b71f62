"""Training losses of methods side by side, from the logs of records (Dominant-Layer ZO, figure 6). Light: no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import stats, text
from .record import Record
from .sections import reported
from .sensitivity import plus_minus
from .stats import Effect

PARTS = 20
"""Number of equal parts of a run whose means make a curve: single batches vary more than methods differ."""

Losses: TypeAlias = Callable[[Record], Sequence[tuple[int, float]]]
"""The training losses of a record at the rate that was chosen, as (step, loss)."""


@dataclass(frozen=True)
class Curve:
    """One method on one task: by part of the run its last step, and the mean loss with its uncertainty over seeds."""

    task: str
    name: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    over_seeds: tuple[Effect | None, ...]


def curves(records: Iterable[Record], losses: Losses) -> list[Curve]:
    """The curves of all methods whose logs are there, by task; of seeds that ran unequally long none."""
    found: dict[tuple[str, str], list[list[tuple[int, float]]]] = defaultdict(list)
    for record in filter(reported, records):
        said = list(losses(record)) if record["status"] == "ok" else []
        if said:
            cell = text.inert(record)["cell"]
            found[cell["task"], f"{cell['estimator']} / {cell['selector']}"].append(parted(said))
    out = []
    for (task, name), runs in sorted(found.items()):
        if len({tuple(step for step, _ in run) for run in runs}) == 1:
            columns = [[loss for _, loss in column] for column in zip(*runs, strict=True)]
            effects = tuple(stats.score({0: column}) for column in columns)
            out.append(Curve(task, name, tuple(s for s, _ in runs[0]), tuple(stats.mean(c) for c in columns), effects))
    return out


def parted(losses: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """(last step, mean loss) of each of PARTS parts of a run, or of its steps where they are fewer."""
    parts = min(PARTS, len(losses))
    edges = [round(k * len(losses) / parts) for k in range(parts + 1)]
    return [
        (losses[b - 1][0], stats.mean([loss for _, loss in losses[a:b]]))
        for a, b in zip(edges, edges[1:], strict=False)
    ]


def markdown(found: Sequence[Curve]) -> str:
    """A table a task: the mean loss of the first part of the run, of the middle one and of the last, and over all."""
    parts = [
        f"Training losses at the rates that dev chose, as means of up to {PARTS} equal parts of a run and over seeds; "
        "± is half of the 95 % interval over seeds."
    ]
    for task in dict.fromkeys(one.task for one in found):
        rows = []
        for one in (one for one in found if one.task == task):
            middle = (len(one.losses) - 1) // 2
            shown = [_at(one, k) for k in (0, middle, -1)]
            rows.append([one.name, str(one.steps[-1]), *shown, f"{stats.mean(one.losses):.4f}"])
        heads = ["method", "steps", "first part", "middle", "last part", "mean over the run"]
        parts.append(f"## {task}\n\n{text.table(heads, rows, left=1)}")
    return "\n\n".join(parts) + "\n"


def _at(one: Curve, k: int) -> str:
    effect = one.over_seeds[k]
    return f"{one.losses[k]:.4f}" if effect is None else plus_minus(effect, 4)


def facts(found: Sequence[Curve]) -> list[dict[str, Any]]:
    """For programs: a curve each; `half` of the 95 % intervals over seeds."""
    return [
        {
            "task": one.task,
            "method": one.name,
            "steps": list(one.steps),
            "losses": list(one.losses),
            "half": [None if effect is None else effect.half() for effect in one.over_seeds],
        }
        for one in found
    ]
