"""What a step is timed on: batches of random tokens with the row lengths of a task, or its real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ..errors import ZobenchError
from ..models.capabilities import points_together
from ..models.forward import Call, Forward
from ..models.graphs import Graphs
from ..models.text import model_type
from ..run.batch_order import batches as training_order
from ..tasks.batch import Batch, collate
from ..tasks.encode import PAD_TOKEN, Encoded, Row
from ..tasks.loss import LOSSES
from ..tasks.prepared import PreparedTask
from ..tasks.rules import RowsRule, Rules
from ..tasks.sampling import split
from ..tasks.source import load_pools
from .lengths import Lengths

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.load import LoadedModel
    from ..tasks.task import Task

Loss = Callable[[Callable[..., Any], Batch], "Tensor"]
SPECIAL = 3
"""Token ids below this are left alone: padding, beginning and end of sequence."""


@dataclass(frozen=True)
class Work:
    """A task to time steps on."""

    task: str
    loss_name: str
    rows: RowsRule
    """Layout of our rows: packed, or shared if the model cannot keep packed rows apart."""
    batches: tuple[Batch, ...]
    """Where the model is: rows as MeZO has them, and those of `rows`."""
    official: Loss
    """The loss as MeZO computes it, over logits at all positions."""
    ours: Loss
    """The loss over logits at answer positions."""
    batched: bool
    """Whether the points of a call can be looked at in one forward."""
    few: tuple[Batch, ...] = ()
    """The batches padded to few shapes, for CUDA graphs; empty where none are timed."""

    @property
    def padded_tokens(self) -> float:
        """Tokens of a forward over the rows as MeZO has them, padding included: the mean over batches."""
        return _mean([batch.input_ids.numel() for batch in self.batches])

    @property
    def unique_tokens(self) -> float:
        """Tokens of a forward pass without padding and repeated prefixes: the mean over batches."""
        return _mean([batch.tokens if batch.shared is None else batch.shared.tokens for batch in self.batches])

    @property
    def engine_tokens(self) -> float:
        """Tokens of a forward over shared rows, their padding included: the mean over batches."""
        return _mean([_looked_at(batch).input_ids.numel() for batch in self.batches])


def made_up(
    task: str, loss_name: str, lengths: Sequence[Lengths], loaded: LoadedModel, *, batch_size: int, batches: int,
    graphs: bool = False,
) -> Work:  # fmt: skip
    """Batches of random tokens with these lengths, an example after the other, round and round."""
    rng = Random(f"bench {task}")
    vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
    source = cycle([_example(rng, one, vocabulary, loss_name, loaded.context_length) for one in lengths])
    parts = [list(islice(source, batch_size)) for _ in range(batches)]
    pad = PAD_TOKEN.get(model_type(loaded.model), loaded.pad_id)
    multiple = 1 if loaded.device.type == "cpu" else 8
    rows = rows_for(loaded)
    shared = multiple if rows == "shared" and loss_name == "classification" else 0
    packed = multiple if rows == "packed" else 0
    laid = partial(collate, pad_id=pad, multiple=8, most=loaded.context_length, shared=shared, packed=packed)
    made, few = (
        tuple(laid(part, few=way).to(loaded.device) for part in parts if graphs or not way) for way in (False, True)
    )
    return Work(task, loss_name, check_packed(rows, graphs), made, *losses(loss_name, loaded, rows), few)


def check_packed(rows: RowsRule, graphs: bool) -> RowsRule:
    """`rows`. ZobenchError where CUDA graphs are asked for over rows that are not packed."""
    if graphs and rows != "packed":
        raise ZobenchError("this model cannot keep packed rows apart, which CUDA graphs need: leave --cuda-graphs out")
    return rows


def real(task: Task, data: Path, loaded: LoadedModel, *, batch_size: int, batches: int, graphs: bool = False) -> Work:
    """Batches of the task's training items in `data`, as a run would draw them first.

    Raises ZobenchError where there are too few items, and for a model without a tokenizer.
    """
    if loaded.tokenizer is None:
        raise ZobenchError("random weights have no tokenizer: leave --data-dir out, or name a --model")
    pools = load_pools(task, data)
    count = min(batch_size * batches, len(pools.train) - 1)
    rows = rows_for(loaded)
    prepared = PreparedTask(task, split(pools, num_train=count, num_dev=1, num_test=1, seed=0), loaded, rows=rows)
    order = training_order(prepared.train_size, min(batch_size, count), 0)
    indices = [next(order) for _ in range(batches)]
    made = tuple(prepared.train_batch(one).to(loaded.device) for one in indices)
    few: tuple[Batch, ...] = ()
    if graphs:
        padded = prepared.in_few_shapes(Graphs(loaded.model, loaded.device))
        few = tuple(padded.train_batch(one).to(loaded.device) for one in indices)
    return Work(task.name, prepared.loss_name, rows, made, *losses(prepared.loss_name, loaded, rows), few)


def rows_for(loaded: LoadedModel) -> RowsRule:
    """Packed, or shared where the model cannot keep packed rows apart."""
    return "packed" if loaded.capabilities.packs_rows_of(Rules().max_length) else "shared"


def losses(loss_name: str, loaded: LoadedModel, rows: RowsRule) -> tuple[Loss, Loss, bool]:
    """(the loss over logits at all positions, the loss over those at answer positions, whether it can be batched)."""
    wide, narrow = (Forward.of(loaded, keep=keep) for keep in (False, True))

    def official(call: Call, batch: Batch) -> Tensor:
        return LOSSES[loss_name](wide.through(call), batch, all_positions=True)

    def ours(call: Call, batch: Batch) -> Tensor:
        return LOSSES[loss_name](narrow.through(call), batch)

    return official, ours, points_together(loaded, narrow, rows == "packed")


def _example(rng: Random, of: Lengths, vocabulary: int, loss_name: str, most: int) -> Encoded:
    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(SPECIAL, vocabulary) for _ in range(count))

    prompt = ids(of.prompt)
    chosen = of.options if loss_name == "classification" else (of.options[of.gold],)
    rows = tuple(Row((*prompt, *ids(length))[-most:], length) for length in chosen)
    gold = of.gold if loss_name == "classification" else 0
    return Encoded(rows, gold, (gold,), (), "made up")


def _looked_at(batch: Batch) -> Any:
    return batch if batch.shared is None else batch.shared


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
