"""Blocks tuned alone in a model and in transformed ones: does dominance follow the outlier? Light: no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import stats, text
from .blocks import Sweep, of_sweep, sweeps
from .known import KnownNames
from .record import Record
from .tables import plus_minus, points

PLAIN = "as it is"
"""The model without a transform, in tables."""


@dataclass(frozen=True)
class Under:
    """The sweep of one estimator and task under one transform; of the plain model that is empty."""

    transform: str
    sweep: Sweep

    @property
    def name(self) -> str:
        """For tables."""
        return self.transform or PLAIN


def gathered(records: Iterable[Record], known: KnownNames) -> list[list[Under]]:
    """By model, estimator and task the sweeps under each transform, the plain model's first."""
    by_transform: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_transform[str(record["protocol"].get("transform") or "")].append(record)
    found: dict[tuple[str, str, str], list[Under]] = defaultdict(list)
    for transform, own in sorted(by_transform.items()):
        for sweep in sweeps(own, known):
            found[sweep.model, sweep.estimator, sweep.task].append(Under(transform, sweep))
    return [group for _, group in sorted(found.items())]


def short(group: Sequence[Under]) -> dict[str, str]:
    """By transform a letter, for headings; the plain model's is its name."""
    named = [one.transform for one in group if one.transform]
    return {"": PLAIN} | {transform: "ABCDEFGHIJ"[k] if k < 10 else str(k) for k, transform in enumerate(named)}


def markdown(found: Sequence[Sequence[Under]]) -> str:
    """A table for each estimator and task, and in words what became of the best block."""
    parts = [
        "Test, in percent, ± half of the 95 % interval over seeds and test items (¹: one seed, over test items alone). "
        "†: the block with the lowest mean dev loss. Differences are paired over seeds and items, in points."
    ]
    for group in found:
        first, letters = group[0].sweep, short(group)
        numbers = sorted({block for one in group for block in one.sweep.blocks})
        rows = [[str(n), *(_score(one, n) for one in group)] for n in numbers]
        rows.append(["zero-shot", *(_untouched(one) for one in group)])
        heads = ["block", *(letters[one.transform] for one in group)]
        parts.append(f"## {first.estimator} on {first.model}, {first.task}\n\n{text.table(heads, rows, left=1)}")
        parts.append(text.bullets([_said(one, group, letters) for one in group]))
    return "\n\n".join(parts) + "\n"


def _score(one: Under, block: int) -> str:
    entry = one.sweep.blocks.get(block)
    mean = None if entry is None else entry.mean()
    if entry is None or mean is None:
        return text.NONE
    missing = f" ({len(entry.done)} of {len(entry.expected)} seeds)" if not entry.complete else ""
    mark = "†" if block == one.sweep.chosen else ""
    return f"{text.percent(mean)}{plus_minus(entry.effect)}{mark}{missing}"


def _untouched(one: Under) -> str:
    mean = next((e.mean("zero_shot") for e in one.sweep.blocks.values()), None)
    return text.NONE if mean is None else text.percent(mean)


def _said(one: Under, group: Sequence[Under], letters: dict[str, str]) -> str:
    """What dev chooses, against what the plain model's dev chooses, and how alike the two rank blocks."""
    plain, own = group[0].sweep, one.sweep
    head = f"{letters[one.transform]}" + (f" = `{one.transform}`" if one.transform else "")
    said = f"{head}: dev chooses block {own.chosen}"
    if plain.chosen != own.chosen and plain.chosen in own.blocks:
        effect = own.against(own.blocks[plain.chosen])
        if effect is not None:
            said += f"; on test, against block {plain.chosen}, {points(effect)}"
    if one is group[0]:
        return said + "."
    shared = sorted(set(plain.blocks) & set(own.blocks))
    tables = [[[*sweep.blocks[n].items().values()] for n in shared] for sweep in (plain, own)]
    even = [len({tuple(len(seed) for seed in block) for block in table}) == 1 for table in tables]
    if len(shared) < 3 or not all(even) or not tables[0][0]:
        return said + "."
    mean, low, high = stats.rank_correlation(tables)
    return f"{said}; blocks are ranked as in the plain model with correlation {mean:+.2f} ({low:+.2f} to {high:+.2f})."


def facts(found: Sequence[Sequence[Under]]) -> list[dict[str, Any]]:
    """For programs: every sweep under its transform; of the plain model that is empty."""
    return [{"transform": one.transform, **of_sweep(one.sweep)} for group in found for one in group]
