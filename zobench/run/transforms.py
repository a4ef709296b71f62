"""The transforms of a cell: those that are said, and what stands for their automatic forms on its model and task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ZobenchError
from ..models.massive import MassiveActivation, massive_activation
from ..plugins import transforms
from ..plugins.outlier_bar import bar
from .batch_order import batches

if TYPE_CHECKING:
    from ..contracts.transform import Transform
    from ..protocol.cell import Cell
    from .outcome import Outcome
    from .session import Session

BATCHES, BATCH_SIZE, SEED = 4, 8, 0
"""Of training examples looked at, as first_outlier does; in the order of one seed, so that all seeds of a task have the
same transform."""


def changes_of(cell: Cell, session: Session, out: Outcome) -> Sequence[Transform]:
    """Its transforms. What automatic forms became, and the forward passes for it, are put into `out`.

    ZobenchError where the model has no massive activation on the task.
    """
    said, plugins = cell.protocol.transform, session.plugins

    def massive() -> MassiveActivation:
        prepared = session.prepared(cell.task, cell.protocol, cell.computation.rows)[0]
        order = batches(prepared.train_size, BATCH_SIZE, SEED)
        given = [prepared.train_batch(next(order)) for _ in range(BATCHES)]
        out.forwards["transform"] += 2 * BATCHES
        loaded = session.loaded
        found = massive_activation(loaded, given, ratio=bar(plugins, loaded.name).get("plateau"))
        if found is None:
            raise ZobenchError(
                f"transform={said}: {loaded.name} has no outlier block on {cell.task}, so that nothing stands for "
                "`auto`: name blocks, channels and values"
            )
        return found

    made = transforms.made_of(said, plugins, massive)
    if transforms.automatic(said, plugins):
        out.fields["transform"] = transforms.told(made, plugins)
    return made
