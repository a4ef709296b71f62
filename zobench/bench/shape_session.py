"""A session of a named shape: no files, no data; rows have the lengths of real ones (zobench.bench.lengths)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ZobenchError
from ..models.lightly import lightly
from ..models.outline import Outline, planned_device
from ..models.shapes import PREFIX, SHAPES
from ..run.session import Session
from ..tasks.encode import Encoded, Row
from ..tasks.kinds import KINDS
from ..tasks.prepared import PreparedTask
from ..tasks.rules import Rules
from ..tasks.sampling import Splits, split
from ..tasks.source import Pools
from .lengths import Lengths, hub_items, shipped

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..protocol.protocol import Protocol
    from ..tasks.rules import RowsRule
    from ..tasks.task import Task


def session_of(shape: str, plugins: Plugins, *, dtype: str, device: str) -> Session:
    """The session. ZobenchError, when a task is asked for, of one whose lengths were not measured."""
    from ..models.load import DTYPES, check_dtype

    check_dtype(dtype)
    kind, settings, _ = SHAPES[shape]
    with lightly(), torch.device("meta"):
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(kind, **settings, attn_implementation="sdpa")
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype])
    loaded = Outline(
        name=f"{PREFIX}{shape}",
        revision=None,
        model=model.eval().requires_grad_(False),
        tokenizer=None,
        device=planned_device(device),
        dtype=dtype,
        context_length=int(settings["max_position_embeddings"]),
        pad_id=0,
    )
    return ShapeSession(loaded, plugins, "hub", offline=True)


class ShapeSession(Session):
    """As Session, with items that are numbers."""

    def data(self, name: str) -> Pools:
        """So many items as the hub has."""
        if (sizes := hub_items(name)) is None:
            raise ZobenchError(f"there are no lengths of task {name} in the package: name a --model for its tokenizer")
        train, test = sizes
        return Pools([{"id": i} for i in range(train)], [{"id": i} for i in range(test)], "hub")

    def prepared(self, name: str, protocol: Protocol, rows: RowsRule = "shared") -> tuple[PreparedTask, Splits]:
        """The task with rows of the lengths of real ones."""
        key = (name, protocol, rows)
        if self._prepared is None or self._prepared[0] != key:
            task = self.task(name)
            dev = task.num_dev if protocol.num_dev is None else protocol.num_dev
            sizes = {"num_train": protocol.num_train, "num_dev": dev, "num_test": protocol.num_test}
            splits = split(self.data(name), **sizes, seed=protocol.data_seed)
            self._prepared = (key, MadeUp(task, splits, self.loaded, protocol, rows), splits)
        return self._prepared[1], self._prepared[2]


class MadeUp(PreparedTask):
    """A task whose rows are of the shipped lengths, of tokens that mean nothing: it can be counted, not run."""

    def __init__(self, task: Task, splits: Splits, loaded: LoadedModel, rules: Rules, rows: RowsRule) -> None:
        self.task, self.rules, self.device, self.pad_id = task, rules, loaded.device, 0
        self.kind, self._full, self.loss_name = KINDS[task.kind], loaded.dtype == "float32", rules.loss_of(task)
        self.rows = "packed" if rows == "auto" else rows
        self._positions = loaded.context_length
        lengths = shipped(task.name)
        one = self.loss_name != "classification"
        self._train = _rows(lengths, len(splits.train), rules.max_length, gold_alone=one)
        self._dev_train = _rows(lengths, len(splits.dev), rules.max_length, gold_alone=one)
        scored = {"dev": splits.dev, "test": splits.test}
        self._scored: Any = {
            name: [(example, None) for example in _rows(lengths, len(items), rules.max_length, gold_alone=False)]
            for name, items in scored.items()
        }

    def scored_by(self, rules: Rules) -> PreparedTask:
        """The same: what demonstrations add in length is not known without data."""
        return self


def _rows(lengths: Sequence[Lengths], count: int, longest: int, *, gold_alone: bool) -> list[Encoded]:
    """So many examples, of lengths from all over the list, round and round where there are more; all different."""
    out, at = [], 1
    spread = lengths if count >= len(lengths) else [lengths[i * len(lengths) // count] for i in range(count)]
    for one in islice(cycle(spread), count):
        options = (one.options[one.gold],) if gold_alone else one.options
        prompt = tuple(range(at, at + one.prompt))
        at += one.prompt
        rows = []
        for length in options:
            rows.append(Row((*prompt, *range(at, at + length))[-longest:], length))
            at += length
        gold = 0 if gold_alone else one.gold
        out.append(Encoded(tuple(rows), gold, (gold,), (), "made up"))
    return out
