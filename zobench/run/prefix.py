"""Which cells have a prefix cache, and how much it may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ZobenchError
from ..models.blocks import lowest_block
from ..tasks.prefix import PrefixCache, cuts
from .method import free_bytes

if TYPE_CHECKING:
    from ..models.cut import Cut
    from ..models.load import LoadedModel
    from ..tasks.prepared import PreparedTask
    from ..zo.scope import Scope
    from .protocol import Computation

SHARE = 4
"""A cache may hold one part in this many of the memory that is free when it is made, on the device and on the host."""


def prefixed(prepared: PreparedTask, loaded: LoadedModel, scope: Scope, wish: Computation) -> PreparedTask:
    """The task as a method on this scope looks at it: from the lowest block that moves, where what lies below is known.

    Its cache is empty: were one shared between cells, a cell's last bits would depend on those that ran before it. The
    same object where there is nothing to leave out: a scope that begins with the first block or has weights
    outside of all blocks, rows as MeZO has them, prefix_cache=off, or a model that cannot be cut there.
    """
    if wish.prefix_cache == "off" or prepared.rows == "replicated":
        return prepared
    try:
        at = lowest_block(loaded.blocks, [p for _, p in scope.named])
    except ZobenchError:  # no blocks are found
        return prepared
    if not at:
        return prepared
    cut = cuts(loaded, at, prepared.rules)
    return prepared if cut is None else prepared.above(_empty(cut, loaded))


def _empty(cut: Cut, loaded: LoadedModel) -> PrefixCache:
    host = free_bytes(torch.device("cpu")) // SHARE
    own = host if loaded.device.type == "cpu" else free_bytes(loaded.device) // SHARE
    return PrefixCache(cut, loaded.device, own, host)
