"""The items of a task's splits as a model is shown them: rendered, with demonstrations where rules ask for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import TypeAlias

from ..errors import ZobenchError
from .encode import Encoded, Encoder
from .rules import Rules
from .sampling import Splits, demonstration_seeds, sample
from .task import Example, Task

Scored: TypeAlias = tuple[Encoded, Encoded | None]
"""An item's rows, and its calibration rows where scoring needs them."""


def rendered(task: Task, splits: Splits) -> dict[str, list[Example]]:
    """The examples of train, dev and test."""
    items = {name: getattr(splits, name) for name in ("train", "dev", "test")}
    return {name: [task.render(item, i) for i, item in enumerate(of)] for name, of in items.items()}


def for_training(encoder: Encoder, example: Example, loss_name: str) -> Encoded:
    """All candidates for classification, a bare prompt for non_diff, else the gold candidate or answer alone."""
    if loss_name == "classification":
        return encoder.encode(example, training=True)
    return encoder.encode(example, training=loss_name != "non_diff", only_gold=True)


def for_scoring(encoder: Encoder, task: Task, splits: Splits, rules: Rules) -> dict[str, list[Scored]]:
    """Dev and test. ZobenchError where there are fewer items to show than the rules ask for."""
    examples, out = rendered(task, splits), dict[str, list[Scored]]()
    for name in ("dev", "test"):
        shown = demonstrations(task, splits, rules, examples, name)
        out[name] = [_scored(encoder, rules, *pair) for pair in zip(examples[name], shown, strict=True)]
    return out


def _scored(encoder: Encoder, rules: Rules, example: Example, shown: Sequence[Example]) -> Scored:
    sfc = None
    if rules.scoring != "mean":
        before = shown if rules.scoring == "icl_sfc" else ()
        sfc = encoder.encode(example, demonstrations=before, sfc=True)
    return encoder.encode(example, demonstrations=shown), sfc


def demonstrations(
    task: Task, splits: Splits, rules: Rules, examples: Mapping[str, list[Example]], name: str
) -> Iterator[Sequence[Example]]:
    """What is shown before each item of the split `name`."""
    k, n, pool = rules.demonstrations, len(examples[name]), splits.pool
    fixed = rules.demonstration_sets == "fixed" or k == 0
    there = len(examples["train"]) if fixed else len(pool) - 1
    if k > there:
        raise ZobenchError(f"task {task.name}: demonstrations={k}, but there are {there} items to show")
    if fixed:
        yield from [examples["train"][:k]] * n
        return
    own = splits.indices.get(name, []) if name == "dev" else []  # dev is of the pool: no item sees its answer
    for seed, avoided in zip_longest(demonstration_seeds(n), own):
        drawn = (i for i in sample(len(pool), k + 1, seed) if i != avoided)
        yield [task.render(pool[i], i) for i in islice(drawn, k)]
