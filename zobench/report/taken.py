"""What a method's cells took, and what its selector chose, from the records of a row. Light: imports no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from . import stats
from .record import OF_A_BACKWARD
from .rows import MethodRow


def taken(row: MethodRow) -> dict[str, float]:
    """What a row's cells took: forwards, further forwards and backward passes a step, all of them a run (a backward
    pass is two), and bytes of state a parameter of the scope, as measured; means over cells, the state's largest.
    """
    done = [r for entry in row.entries.values() for r in entry.done.values()]
    steps = sum(trial["steps"] for r in done for trial in r["trials"])
    spent = {p: sum(r["forwards"].get(p, 0) for r in done) for p in ("train", "extra", "backward")}
    out = {purpose: n / steps for purpose, n in spent.items() if steps}
    if runs := sum(len(r["trials"]) for r in done):
        out["run"] = (spent["train"] + spent["extra"] + OF_A_BACKWARD * spent["backward"]) / runs
    states = [
        r["memory"]["state_bytes"] / scope["parameters"]
        for r in done
        if (scope := r["scope"]) is not None and "state_bytes" in r["memory"]
    ]
    return out | ({"state": max(states)} if states else {})


@dataclass(frozen=True)
class ScopeTaken:
    """What a row's selector chose, and what that took: means over cells."""

    forwards: float
    """Forwards to choose: on calibration batches and in probes, those on dev included."""
    seconds: float
    fraction: float
    """Of the model's parameters that may move."""
    blocks: tuple[tuple[tuple[int, ...], int], ...]
    """The sets of blocks that were chosen, and in how many cells: the most frequent first."""


def choice(row: MethodRow) -> ScopeTaken | None:
    """What the row's selector did; None where no cell ended well."""
    done = [r for entry in row.entries.values() for r in entry.done.values()]
    scopes = [scope for r in done if (scope := r["scope"]) is not None]
    if not scopes:
        return None
    spent = [r["forwards"].get("calibration", 0) + r["forwards"].get("probe", 0) for r in done]
    return ScopeTaken(
        forwards=stats.mean(spent),
        seconds=stats.mean([r["time"].get("select_s", 0.0) for r in done]),
        fraction=stats.mean([scope["fraction"] for scope in scopes]),
        blocks=tuple(Counter(tuple(scope["layers"]) for scope in scopes).most_common()),
    )
