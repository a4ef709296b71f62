"""Which cells have a prefix cache, and how much it may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..errors import ZobenchError
from ..models.blocks import lowest_block
from ..models.capabilities import cut_at
from ..tasks.prefix import PrefixCache
from .method import free_bytes

if TYPE_CHECKING:
    from ..models.load import LoadedModel
    from ..protocol.protocol import Computation
    from ..scopes.scope import Scope
    from ..tasks.prepared import PreparedTask

SHARE = 4
"""A cache may hold one part in this many of the memory that is free when it is made, on the device and on the host."""


def prefixed(prepared: PreparedTask, loaded: LoadedModel, scope: Scope, wish: Computation) -> PreparedTask:
    """The task as a method on this scope looks at it: from the lowest block that moves, where what lies below is known.

    The same object for rows as MeZO has them, prefix_cache=off, and where there is nothing to cache.
    """
    if wish.prefix_cache == "off" or prepared.rows == "replicated":
        return prepared
    cache = prefix_cache(loaded, scope)
    return prepared if cache is None else prepared.above(cache)


def prefix_cache(loaded: LoadedModel, scope: Scope) -> PrefixCache | None:
    """An empty cache of what enters the lowest block that moves.

    Empty each time: were one shared between cells, a cell's last bits would depend on those that ran before it. None
    for a scope that begins with the first block or has weights outside of all blocks, and for a model that cannot be
    cut there.
    """
    try:
        at = lowest_block(loaded.blocks, [p for _, p in scope.named])
    except ZobenchError:  # no blocks are found
        return None
    cut = cut_at(loaded, at) if at else None
    if cut is None:
        return None
    host = free_bytes(torch.device("cpu")) // SHARE
    own = host if loaded.device.type == "cpu" else free_bytes(loaded.device) // SHARE
    return PrefixCache(cut, loaded.device, own, host)
