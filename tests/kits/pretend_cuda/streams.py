"""Streams of the pretend device, and CUDA graphs, as torch.cuda has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kits import pretend_cuda as device_kit


class Stream:
    """One of a device; `cuda_stream` 0 is its default one."""

    made = 0

    def __init__(self, device: Any = None, number: int | None = None, **_: Any) -> None:
        self.device_index = device_kit.index(device)
        if number is None:
            Stream.made = number = Stream.made + 1
        self.cuda_stream = number

    def synchronize(self) -> None:
        waits()

    def wait_stream(self, other: Stream) -> None:
        """All runs in the order in which it is asked for."""


_streams: list[Stream] = []
"""Those that are current, the innermost last; none: the default one."""


def current_stream(device: Any = None) -> Stream:
    """The stream that work on a device goes to."""
    at = device_kit.index(device)
    return next((s for s in reversed(_streams) if s.device_index == at), Stream(at, 0))


@contextmanager
def stream(of: Stream) -> Iterator[None]:
    """torch.cuda.stream."""
    _streams.append(of)
    try:
        with device_kit._Current(of.device_index):
            yield
    finally:
        _streams.remove(of)


def waits(device: Any = None) -> None:
    """torch.cuda.synchronize."""
    if device_kit.native.capturing():
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing (synchronize)")
    device_kit.waited["synchronize"] += 1


_pools = 0


def new_pool() -> tuple[int, int]:
    """torch.cuda.graph_pool_handle."""
    global _pools
    _pools += 1
    return 0, _pools


class Graph:
    """torch.cuda.CUDAGraph."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._at = 0
        self._done = False

    def capture_begin(self, pool: tuple[int, int] | None = None, capture_error_mode: str = "global") -> None:
        if current_stream().cuda_stream == 0:
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        self._pool = pool or new_pool()
        self._at = device_kit.native.begin_capture(self._pool[1])

    def capture_end(self) -> None:
        device_kit.native.end_capture()
        self._done = True

    def replay(self) -> None:
        if not self._done:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        device_kit.native.replay(self._at)

    def pool(self) -> tuple[int, int]:
        return self._pool

    def __del__(self) -> None:
        if self._at:
            device_kit.native.drop_graph(self._at)
