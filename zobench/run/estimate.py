"""What a run will cost, before it starts: forward passes from the settings, seconds from a few timed forwards."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from ..errors import ZobenchError
from .references import expected_forwards, learns
from .speed import BLOCK
from .train import on_device

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..protocol.protocol import Protocol
    from ..tasks.prepared import PreparedTask
    from .session import Session


@dataclass(frozen=True)
class Cost:
    """Of one cell: forward passes by purpose, and the seconds that they alone will take here."""

    forwards: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Pace:
    """Seconds of one forward pass: of a training batch, and of rows as scoring sees them, one or several at once."""

    batch_s: float
    rows_s: float


def pace(session: Session, prepared: PreparedTask, batch_size: int) -> Pace:
    """Time forwards of a training batch, and of as many training examples as are scored together. Medians of three."""
    batch = on_device(prepared, session.loaded, list(range(min(batch_size, prepared.train_size))))
    rows = on_device(prepared, session.loaded, list(range(min(prepared.together or 1, prepared.train_size))))
    return Pace(*(_median_s(partial(prepared.loss, session.loaded.model, b)) for b in (batch, rows)))


def _median_s(run: Callable[[], torch.Tensor]) -> float:
    taken = []
    with torch.no_grad():
        for _ in range(4):
            start = time.perf_counter()
            float(run())  # reading the loss waits for the device
            taken.append(time.perf_counter() - start)
    return sorted(taken[1:])[1]


def cost(cell: Cell, session: Session) -> Cost:
    """Forwards and seconds of one cell, as if it were the only one. Perturbing and updating come on top of these.

    `train`, `extra` and `speed` are what the record will say, for an estimator that takes `forwards_per_step` forwards
    (and `extra_forwards_per_step`) at the settings given. `eval` is at most that: generation may stop early. Cells of
    one task share the zero-shot score, which each of them counts and one of them takes the time for.
    """
    prepared, splits = session.prepared(cell.task, cell.protocol, cell.computation.rows)
    per, rules = pace(session, prepared, cell.protocol.batch_size), cell.protocol
    cls = session.plugins.estimator(cell.estimator)
    dev = math.ceil(len(splits.dev) / rules.eval_batch_size)
    step = cls.forwards_per_step or 2
    own = session.scored(cell, prepared)
    untouched = prepared.scoring_forwards("test") if cls.trains or own is not prepared else 0
    scoring = own.scoring_forwards("dev") + own.scoring_forwards("test")
    longer = own.tokens("test") / prepared.tokens("test")  # rows with demonstrations, to those that were timed
    forwards = {"train": 0, "eval": untouched + scoring}
    batch_forwards = 0
    if learns(cls):
        batch_forwards, scoring = expected_forwards(prepared)
        untouched = prepared.scoring_forwards("test")
        forwards |= {"calibration": batch_forwards, "eval": untouched + scoring}
    if cls.trains:
        steps = _steps(rules, step + cls.extra_forwards_per_step, per.batch_s)
        forwards["train"] = len(cell.lrs) * steps * step
        if cls.extra_forwards_per_step:
            forwards["extra"] = round(len(cell.lrs) * steps * cls.extra_forwards_per_step)
        step += round(cls.extra_forwards_per_step)
        checkpoints = len(cell.lrs) * (rules.steps // rules.eval_every) * dev
        selector = session.plugins.selector(cell.selector)(**cell.selector_settings)
        forwards["selection"] = selector.expected_forwards(_blocks(session), step, dev)
        timed = cell.computation.speed_steps + cell.computation.speed_warmup
        timed += math.ceil(timed / BLOCK)  # the uncounted first step of each block
        forwards["speed"] = timed * (step + 2) if cell.computation.speed_steps else 0
        batch_forwards = sum(forwards.values()) - forwards["eval"] + checkpoints
        forwards["eval"] += checkpoints
    return Cost(forwards, batch_forwards * per.batch_s + (untouched + longer * scoring) * per.rows_s)


def _steps(protocol: Protocol, forwards: float, seconds: float) -> int:
    """The steps of a run, of which each takes this many forwards of this many seconds."""
    if protocol.train_forwards:
        return max(1, int(protocol.train_forwards / forwards))
    if protocol.train_seconds:
        return max(1, int(protocol.train_seconds / (forwards * seconds)))
    return protocol.steps


def _blocks(session: Session) -> int:
    """The number of decoder blocks; 0 where none are found, which only a selector that wants one minds."""
    try:
        return len(session.loaded.blocks)
    except ZobenchError:
        return 0
