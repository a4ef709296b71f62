"""What a reader of a score should know about the sampled items: duplicates, items shared by splits, empty texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ZobenchError
from .sampling import Splits
from .source import Pools
from .task import Task


def doubts(task: Task, splits: Splits, pools: Pools | None = None) -> dict[str, str]:
    """Notes for the record, by subject; empty if nothing is odd.

    Two items are duplicates if all fields that the task reads are equal. Only sampled items are compared; of pools read
    from files it is also checked whether the two pools are the same file.
    """
    keys = {name: [_key(task, item) for item in items] for name, items in _each(splits)}
    notes: dict[str, str] = {}
    if pools is not None and _one_file(pools):
        notes["pools"] = "train and validation are the same file: what is tested on was trained on"
    for name, found in keys.items():
        repeats = len(found) - len(set(found))
        if repeats:
            notes[f"{name}_repeats"] = f"{repeats} of {len(found)} items stand in {name} before"
    for name, other in (("dev", "train"), ("test", "train"), ("test", "dev")):
        there = set(keys[other])
        shared = sum(key in there for key in keys[name])
        if shared:
            how_many = f"all {shared}" if shared == len(keys[name]) else f"{shared} of {len(keys[name])}"
            notes[f"{name}_in_{other}"] = f"{how_many} items of {name} are in {other} too"
    return notes | _odd(task, splits)


def _odd(task: Task, splits: Splits) -> dict[str, str]:
    """Empty texts, and candidates that are empty or alike, over all splits."""
    texts: dict[str, int] = {}
    empty = alike = 0
    for _, items in _each(splits):
        for item in items:
            for values in task.source.values:
                text = item.get(values.field)
                if values.kind == "text" and isinstance(text, str) and not text.strip():
                    texts[values.field] = texts.get(values.field, 0) + 1
            candidates = _candidates(task, item)
            empty += any(not candidate.strip() for candidate in candidates)
            alike += len(set(candidates)) < len(candidates)
    notes = {}
    if texts:
        notes["empty_texts"] = ", ".join(f"{n} items have an empty {name}" for name, n in sorted(texts.items()))
    if empty:
        notes["empty_candidates"] = f"{empty} items have an empty candidate"
    if alike:
        notes["equal_candidates"] = f"{alike} items have candidates that are equal; the first counts"
    return notes


def _candidates(task: Task, item: Mapping[str, Any]) -> Sequence[str]:
    """What an item offers to choose from, where it differs from item to item."""
    if not isinstance(task.candidates, str):
        return ()
    try:
        return task.options(item)
    except ZobenchError:
        return ()  # which is said where the item is rendered


def _each(splits: Splits) -> tuple[tuple[str, Sequence[Mapping[str, Any]]], ...]:
    return (("train", splits.train), ("dev", splits.dev), ("test", splits.test))


def _key(task: Task, item: Mapping[str, Any]) -> str:
    return repr([item.get(name) for name in sorted(task.source.names())])


def _one_file(pools: Pools) -> bool:
    files = [pools.provenance.get(split) for split in ("train", "validation")]
    sums = [file.get("sha256") for file in files if isinstance(file, Mapping)]
    return len(sums) == 2 and sums[0] is not None and sums[0] == sums[1]
