"""Whether the parts of a record agree with each other: what its shape (shape.py) cannot say.

A record that a run wrote holds all of this by construction; one that was edited, or made by hand, mostly does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

from .identity import cell_id
from .record import SEALED, Metrics, Record
from .units import FRACTIONS

ROUNDED = 1e-6
"""Items are kept to six decimals, their mean as it was before."""


def disagreements(record: Record) -> Iterator[str]:
    """What is wrong with a record of the right shape, one phrase a fault; its checksum is not asked for."""
    made = cell_id(record["cell"], record["protocol"])
    old = record["schema"] < SEALED  # and may have been named by an earlier rule
    if record["id"] != made and not (old and record["id"].rpartition("-s")[2] == made.rpartition("-s")[2]):
        yield f"its id is {record['id']!r:.80}, and its cell and protocol make {made!r:.120}"
    yield from _ending(record)
    for name, score in record["metrics"].items():
        if name not in Metrics.__annotations__:
            continue  # of a later zobench
        yield from _score(f"metrics.{name}", cast("Mapping[str, Any]", score))
    yield from _counts(record)
    if any(not 0 < lr < math.inf for lr in record["cell"]["lrs"]):
        yield "cell.lrs: learning rates are above 0"
    if record["cell"]["seed"] < 0:
        yield "cell.seed is below 0"


def _ending(record: Record) -> Iterator[str]:
    """Status, error, scores and the chosen rate go together."""
    ok = record["status"] == "ok"
    if ok and record["error"] is not None:
        yield "error is not null though status is ok"
    if not ok and record["error"] is None:
        yield f"error is null though status is {record['status']}"
    if ok:
        yield from (f"metrics.{k} is missing though status is ok" for k in ("zero_shot", "test") if _none(record, k))
    if ok and record["trials"] and "chosen" not in record:
        yield "chosen is missing though status is ok"
    if "chosen" in record:
        lr, step = record["chosen"]["lr"], record["chosen"]["step"]
        if not any(t["lr"] == lr and t["best_step"] == step and t["status"] == "ok" for t in record["trials"]):
            yield f"chosen: no trial that is ok has lr {lr:g} and its best step at {step}"


def _none(record: Record, name: str) -> bool:
    return name not in record["metrics"]


def _score(where: str, score: Mapping[str, Any]) -> Iterator[str]:
    value, items, n = score["value"], score.get("items"), score["n"]
    fraction = score["metric"] in FRACTIONS
    if n < 1:
        yield f"{where}.n: {n} is no number of items"
    if fraction and value is not None and not 0 <= value <= 1:
        yield f"{where}.value: {value:g} is not between 0 and 1"
    if score["stderr"] is not None and score["stderr"] < 0:
        yield f"{where}.stderr is below 0"
    if items is None:
        return
    if "clusters" in score and len(score["clusters"]) != n:
        yield f"{where}: clusters of {len(score['clusters'])} items, and n is {n}"
    if "predicted" in score and len(score["predicted"]) != n:
        yield f"{where}: predictions of {len(score['predicted'])} items, and n is {n}"
    if len(items) != n:
        yield f"{where}: {len(items)} items, and n is {n}"
    if None in items or not items:
        return
    if fraction and not (min(items) >= 0 and max(items) <= 1):
        yield f"{where}.items: not all are between 0 and 1"
    if value is not None and abs(math.fsum(items) / len(items) - value) > ROUNDED:
        yield f"{where}.value: {value:g} is not the mean of its items, {math.fsum(items) / len(items):g}"


def _counts(record: Record) -> Iterator[str]:
    """What is counted or timed is not below 0."""
    groups: list[tuple[str, Mapping[str, Any]]] = [
        ("forwards", record["forwards"]),
        ("memory", record["memory"]),
        ("time", record["time"]),
    ]
    if record["scope"] is not None:
        groups.append(("scope", {k: record["scope"][k] for k in ("parameters", "fraction", "tensors")}))
    groups += [
        (f"trials[{i}]", {k: trial[k] for k in ("lr", "best_step", "steps")})
        for i, trial in enumerate(record["trials"])
    ]
    for where, group in groups:
        yield from (f"{where}.{key}: {n:g} is below 0" for key, n in group.items() if n is not None and n < 0)
    if "speed" in record:
        yield from _speed(record["speed"])


def _speed(speed: Mapping[str, Any]) -> Iterator[str]:
    for side in ("baseline", "own"):
        yield from (f"speed.{side}.{k}: {s:g} is below 0" for k, s in speed[side].items() if s is not None and s < 0)
    baseline, own, ratio = speed["baseline"]["step_s"], speed["own"]["step_s"], speed["ratio"]
    if None in (baseline, own, ratio):
        return
    if not (ratio > 0 and baseline > 0 and own > 0):
        yield f"speed: ratio {ratio:g} of {baseline:g} s and {own:g} s: all are above 0"
    elif not math.isclose(baseline / own, ratio, rel_tol=1e-6):
        yield f"speed.ratio: {ratio:g} is not {baseline:g} s over {own:g} s"
