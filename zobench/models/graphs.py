"""Losses replayed as CUDA graphs: one launch in the place of a forward's hundreds, where a GPU would wait for its host.

A graph is what a forward launched once, on the same memory: by address, with the numbers it had. So what changes from
batch to batch is copied into memory of the graph's own, weights must lie where they lay (they move in place), and
nothing may wait for the device inside. Constraints: PyTorch's notes on CUDA graphs (notes/cuda, "CUDA Graphs").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ..errors import ZobenchError, out_of_memory

MOST = 32
"""Shapes of batches that graphs are kept for; losses of others are computed as they are, to the same numbers."""
AGAIN = 4
"""Captures in all, as a multiple of that: weights of adapters lie elsewhere in each of a cell's runs."""
ROUNDING = 32
"""What a replay may differ by from what was captured: this many times the dtype's epsilon."""
OFF = "leave cuda_graphs=on out"

Inputs: TypeAlias = Mapping[str, Tensor]
Compute: TypeAlias = Callable[[Inputs], Tensor]


class Graphs:
    """The graphs of one model's losses on one GPU, a graph for each shape of batch, with memory that all share.

    captured, replayed, computed: how many graphs were made, losses taken from them, and losses computed without one.
    """

    def __init__(self, model: nn.Module, device: torch.device, most: int = MOST) -> None:
        self.model, self.device, self.most = model, device, most
        self.captured = self.replayed = self.computed = 0
        self._held: dict[Hashable, _Graph] = {}
        self._room: dict[tuple[str, int], Tensor] = {}
        self._modules = list(model.modules())
        self._inside = self._children()
        self._stream: Any = None
        self._pool: Any = None

    def room(self, name: str, like: Tensor, copies: int) -> Tensor:
        """Memory for a weight at so many points, (copies, *shape): the same at each call, as graphs read it."""
        made = self._room.get((name, copies))
        if made is None or made.shape[1:] != like.shape or made.dtype != like.dtype or made.device != like.device:
            made = self._room[name, copies] = like.new_empty((copies, *like.shape))
        return made

    def value(
        self, key: Hashable, inputs: Inputs, compute: Compute, points: Sequence[Mapping[str, Tensor]] = ()
    ) -> Tensor:
        """`compute(inputs)`, replayed where a graph of this key stands. It must read tensors of `inputs`, `points`, the
        model's parameters and buffers alone, and be the same function for the same key.

        Raises ZobenchError for what cannot be captured, and what the device raises where memory runs out.
        """
        stands = self._stands(points)
        held = self._held.get(key)
        if held is None or held.stands != stands:
            if not self._may(key):
                self.computed += 1
                return compute(inputs)
            self._held.pop(key, None)
            del held  # its memory is given back before other is taken
            return self._capture(key, stands, inputs, compute)
        self.replayed += 1
        return held.value(inputs)

    def nbytes(self) -> int:
        """Bytes of inputs and of weights at points, without what the forwards themselves hold."""
        inputs = (x for held in self._held.values() for x in held.own.values())
        return sum(t.numel() * t.element_size() for t in (*inputs, *self._room.values()))

    def _may(self, key: Hashable) -> bool:
        there = key in self._held or len(self._held) < self.most
        return there and self.captured < AGAIN * self.most

    def _stands(self, points: Sequence[Mapping[str, Tensor]]) -> list[Any]:
        """Where all lies that a forward reads, and what hangs on the model: a graph holds for these alone."""
        if self._children() != self._inside:
            self._modules = list(self.model.modules())
            self._inside = self._children()
        found: list[Any] = [x.data_ptr() for point in points for x in point.values()]
        for module in self._modules:
            of = vars(module)
            found.append((id(module), len(of), len(of["_forward_hooks"]), len(of["_forward_pre_hooks"])))
            for table in (of["_parameters"], of["_buffers"]):
                found += [x.data_ptr() for x in table.values() if x is not None]
        return found

    def _children(self) -> list[int]:
        return [id(child) for module in self._modules for child in module._modules.values()]

    def _capture(self, key: Hashable, stands: list[Any], inputs: Inputs, compute: Compute) -> Tensor:
        """What a graph of this key puts out, which is kept from now on. It is captured on a stream beside the current
        one, after two runs there: the first makes what libraries make once, in the second what waits is an error.
        """
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        if not self._held:
            self._pool = torch.cuda.graph_pool_handle()
        own = {name: x.clone() for name, x in inputs.items()}
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        try:
            with torch.cuda.stream(self._stream):
                compute(own)
                with _waits_refused():
                    seen = compute(own)
                graph, out = self._captured(partial(compute, own))
        except ZobenchError:
            raise
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            why = str(error).strip().splitlines()[0]
            raise ZobenchError(f"no CUDA graph can be made of this loss ({why}): {OFF}") from error
        finally:
            current.wait_stream(self._stream)
        made = _Graph(graph, own, out, stands)
        value = made.value(inputs)
        self._check(seen, value)
        self._held[key] = made
        self.captured += 1
        return value

    def _captured(self, compute: Callable[[], Tensor]) -> tuple[Any, Tensor]:
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()  # what the runs before it held is the pool's to take
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            out = compute()
        finally:
            graph.capture_end()
        return graph, out

    def _check(self, seen: Tensor, replayed: Tensor) -> None:
        """ZobenchError where a replay is not what was computed; waits for the device."""
        most = ROUNDING * torch.finfo(seen.dtype).eps
        if not torch.allclose(replayed, seen, rtol=most, atol=most, equal_nan=True):
            raise ZobenchError(f"a CUDA graph of this loss gives another number than the loss: {OFF}")


class _Graph:
    """A captured graph, the memory of its own that it reads its inputs from, and what it puts out."""

    def __init__(self, graph: Any, own: Inputs, out: Tensor, stands: list[Any]) -> None:
        self.graph, self.own, self.out, self.stands = graph, own, out, stands
        self._given: Inputs | None = None

    def value(self, inputs: Inputs) -> Tensor:
        """What it puts out for these inputs, in memory of the caller's: the next replay may write over its own."""
        if inputs is not self._given:
            by_dtype: dict[torch.dtype, list[str]] = {}
            for name, x in inputs.items():
                by_dtype.setdefault(x.dtype, []).append(name)
            for names in by_dtype.values():
                torch._foreach_copy_([self.own[n] for n in names], [inputs[n] for n in names])
            self._given = inputs  # held, so that it is none but this one
        self.graph.replay()
        return self.out.clone()


@contextmanager
def _waits_refused() -> Iterator[None]:
    """Inside, what makes the host wait for the device is an error of torch."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the mode is a prototype, which does not see all: the capture does
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@dataclass(frozen=True)
class Replayable:
    """A batch of one of few shapes, whose loss is a function of tensors: what `Graphs` takes."""

    graphs: Graphs
    key: Hashable
    inputs: Inputs
    loss: Callable[[Callable[..., Any], Inputs], Tensor]
    """Of a forward and `inputs`, or tensors in their place."""
