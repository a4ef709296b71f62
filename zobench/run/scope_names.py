"""What a selector chooses, as far as the names of a model say it: for what is planned, and runs nothing."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..plugins.declared import role
from .selection import RunSelectionContext

if TYPE_CHECKING:
    from torch import Tensor

    from ..contracts.selector import ProbeResult
    from ..models.load import LoadedModel
    from ..plugins.registry import Plugins
    from ..protocol.cell import Cell
    from ..scopes.scope import Scope
    from ..tasks.batch import Batch


class Named(RunSelectionContext):
    """A selection context for planning: a selector learns the names and shapes of a model, and nothing else."""

    def __init__(self, loaded: LoadedModel, seed: int) -> None:
        self.loaded, self.seed = loaded, seed
        self.forwards: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}

    def calibration(self, batches: int, batch_size: int) -> list[Batch]:
        raise NotImplementedError("nothing is run to plan")

    def loss(self, batch: Batch) -> Tensor:
        raise NotImplementedError("nothing is run to plan")

    def probe(self, scope: Scope, steps: int, lr: float | None = None, *, metric: bool = False) -> ProbeResult:
        raise NotImplementedError("nothing is run to plan")


def selected(cell: Cell) -> tuple[str, str]:
    """The selector with its settings, as a key."""
    return cell.selector, json.dumps(cell.key()["selector_settings"], sort_keys=True)


def by_name(cell: Cell, named: Named, plugins: Plugins) -> Scope | None:
    """The scope of a cell; None where names and shapes do not say what will be chosen."""
    try:
        return plugins.selector(cell.selector)(**cell.selector_settings).select(named)
    except Exception:  # whatever it asks of weights or of data that are not there
        return None


def chosen(cell: Cell, loaded: LoadedModel, plugins: Plugins) -> Scope | None:
    """The scope of a cell; all blocks, where a selector has to look which one it takes.

    None where what will be chosen is not known before it is.
    """
    named = Named(loaded, cell.seed)
    scope = by_name(cell, named, plugins)
    if scope is None:
        of_a_block = {name for part in ("one_block", "outlier_block", "whole_blocks") for name in role(plugins, part)}
        return named.layers(*range(len(loaded.blocks))) if cell.selector in of_a_block else None
    return scope
