"""About how much work a cell is, for the order in which cells begin. Light: some items are rendered for it,
nothing is encoded or run.
"""

from __future__ import annotations

import itertools
from statistics import fmean
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..protocol.protocol import asked

if TYPE_CHECKING:
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..tasks.example import Example
    from ..tasks.rules import RowsRule
    from ..tasks.source import Pools
    from ..tasks.task import Task

ITEMS = 32
"""Of a task, whose characters are counted."""
EACH = 400.0
"""Characters that take as long as what a forward takes beside its tokens, about."""
WRITTEN = 1.5
"""An item whose answer is generated, in items that are read. With it and EACH the eleven tasks of the embedded model
take within 20 % of what is told, as process time."""


def characters(cell: Cell, plugins: Plugins, pools: Pools | None) -> float:
    """Characters that are passed over, and a fixed number for each forward; of equal items where data are not known."""
    rules, cls, task = cell.protocol, plugins.estimator(cell.estimator), plugins.task(cell.task)
    length = EACH if pools is None else _length(task, pools, cell.computation.rows)
    scored = asked(rules, cls.scored_by, cell.estimator_settings).demonstrations + 1
    dev = task.num_dev if rules.num_dev is None else rules.num_dev
    written = WRITTEN if task.kind == "generation" else 1.0
    of_item = length + EACH / rules.eval_batch_size
    work = 2 * rules.num_test * scored * written * of_item
    if not cls.trains:
        return work
    looks = float(cls.forwards_per_step or 2)
    rates = len(cell.lrs)
    forwards = float(rules.train_forwards or looks * rules.steps)
    work += rates * forwards * (rules.batch_size * length + EACH)
    work += rates * max(1, rules.steps // rules.eval_every) * dev * of_item + dev * written * of_item
    measured = cell.computation.speed_steps and cell.computation.speed_steps + cell.computation.speed_warmup
    return work + 4 * measured * (rules.batch_size * length + EACH)


def _length(task: Task, pools: Pools, rows: RowsRule) -> float:
    """Characters of an item as a model reads it, the mean of some: of its prompt once, or with each answer anew."""
    try:
        examples = [task.render(item) for item in itertools.islice(pools.train, ITEMS)]
    except ZobenchError:  # its cells will say so, each in its record
        return EACH
    return fmean(map(_replicated if rows == "replicated" else _shared, examples)) if examples else EACH


def _replicated(example: Example) -> int:
    return sum(map(len, example.texts))


def _shared(example: Example) -> int:
    return _replicated(example) - (len(example.texts) - 1) * len(example.prompt)
