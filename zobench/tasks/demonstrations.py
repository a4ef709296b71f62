"""The items of a task's splits as a model is shown them: rendered, with demonstrations where rules ask for some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest

from ..errors import ZobenchError
from .encode import Encoder
from .example import Example
from .kinds import KINDS
from .rules import Rules
from .sampling import Splits, demonstration_seeds, sample
from .score import Item
from .task import Task


def rendered(task: Task, splits: Splits) -> dict[str, list[Example]]:
    """The examples of train, dev and test."""
    items = {name: getattr(splits, name) for name in ("train", "dev", "test")}
    return {name: [task.render(item, i) for i, item in enumerate(of)] for name, of in items.items()}


def for_scoring(
    encoder: Encoder, task: Task, splits: Splits, rules: Rules, examples: Mapping[str, list[Example]]
) -> dict[str, list[Item]]:
    """Dev and test of these examples. ZobenchError where there are fewer items to show than the rules ask for."""
    kind, out = KINDS[task.kind], dict[str, list[Item]]()
    for name in ("dev", "test"):
        shown = demonstrations(task, splits, rules, examples, name)
        out[name] = [kind.scoring_rows(encoder, rules, *pair) for pair in zip(examples[name], shown, strict=True)]
    return out


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
