"""The guard on buffers: a displacement made of a buffer that was changed since cannot be undone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..directions.algebra import Direction
from ..directions.buffer import Buffer
from ..directions.handle import Handle


class BufferGuard:
    """Versions of the buffers that the last point looked at was made of."""

    def __init__(self) -> None:
        self._taken: list[tuple[Buffer, str, Tensor, int]] = []

    def take(self, d: Direction, handles: Sequence[Handle]) -> None:
        """Remember the buffers of this point."""
        buffers = {n for n in d.nodes() if isinstance(n, Buffer)}
        stores = [(n, p.name, n.store[p.name]) for n in buffers for p in handles if p in n]
        self._taken = [(n, name, t, t._version) for n, name, t in stores]

    def check(self) -> None:
        """RuntimeError if one of them was changed in place or replaced since, on every engine alike."""
        for n, name, t, version in self._taken:
            if n.store.get(name) is not t or t._version != version:
                self._taken = []
                raise RuntimeError(
                    f"buffer {n.name!r} was changed in place for {name} after losses(...) looked along a direction "
                    f"made of it: an engine may not have restored the weights yet. Use {n.name}.assign(...), or loop "
                    "with self.each(...), or call self.settle() before the change."
                )

    def drop(self, buffer: Buffer) -> None:
        """A buffer is about to be changed in a way that engines know of."""
        self._taken = [x for x in self._taken if x[0] is not buffer]

    def clear(self) -> None:
        """Nothing is displaced any more."""
        self._taken = []
