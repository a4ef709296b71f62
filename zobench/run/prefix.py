"""Which cells have a prefix cache, how much it may hold, and how it is written down with the runs that fill it."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ZobenchError
from ..models.blocks import lowest_block
from ..models.capabilities import cut_at
from ..tasks.prefix import PrefixCache
from .method import free_bytes
from .written import checksum

if TYPE_CHECKING:
    from torch import Tensor

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


_ENTRY = struct.Struct("<IIBB")
"""Tokens, hidden size, dtype, whether on the host; then the tokens as i32 and the hidden states."""
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class KeptCache:
    """A cache on disk: what is added while runs fill it, by each process in a file of its own."""

    def __init__(self, cache: PrefixCache, path: Path) -> None:
        self._cache, self._path = cache, path
        self._before: list[tuple[str, int, int]] = []
        self._size = self._crc = 0
        self._left: Mapping[str, Any] | None = None

    def left(self, state: Mapping[str, Any] | None) -> None:
        """An earlier process left the cache in this state (see `written`)."""
        self._left = state or self._left

    def hold(self) -> None:
        """Bring the cache to the state in which it was left. Raises OSError and ValueError where that is not there."""
        if self._left is not None:
            state, self._left = self._left, None
            self._before = [(file, size, crc) for file, size, crc in state["files"]]
            read = (_read(self._path.with_name(name), size, crc) for name, size, crc in self._before)
            self._cache.restore(itertools.chain.from_iterable(read), state)

    def written(self) -> dict[str, Any]:
        """The state of the cache now, after what is new has been written."""
        new = self._cache.taken()
        if new:
            with self._path.open("ab") as f:
                for ids, hidden in new:
                    entry = _entry(ids, hidden, host=hidden.device != self._cache.device)
                    self._crc = zlib.crc32(entry, self._crc)
                    f.write(entry)
                self._size = f.tell()
        own = [(self._path.name, self._size, self._crc)] if self._size else []
        return {"files": [*self._before, *own], **self._cache.facts()}

    def remove(self) -> None:
        """Remove the files: what filled the cache is over."""
        for name in (*(name for name, _, _ in self._before), self._path.name):
            self._path.with_name(name).unlink(missing_ok=True)


def _entry(ids: Sequence[int], hidden: Tensor, *, host: bool) -> bytes:
    head = _ENTRY.pack(len(ids), hidden.shape[1], _DTYPES.index(hidden.dtype), host)
    return head + struct.pack(f"<{len(ids)}i", *ids) + hidden.cpu().contiguous().view(torch.uint8).numpy().tobytes()


def _read(path: Path, size: int, crc: int) -> Iterator[tuple[tuple[int, ...], bool, Tensor]]:
    """The entries in the first `size` bytes. Raises ValueError where these are not what was written."""
    if checksum(path, size) != crc:
        raise ValueError(f"{path} is not what was written there")
    with path.open("rb") as f:
        while f.tell() < size:
            tokens, width, dtype, host = _ENTRY.unpack(f.read(_ENTRY.size))
            ids = struct.unpack(f"<{tokens}i", f.read(4 * tokens))
            data = bytearray(f.read(tokens * width * _DTYPES[dtype].itemsize))
            yield ids, bool(host), torch.frombuffer(data, dtype=_DTYPES[dtype]).view(tokens, width)
