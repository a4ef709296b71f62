"""Statistics of the residual stream after every decoder block, by forward passes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ..devices import widest
from ..errors import ZobenchError
from .forward import Forward

if TYPE_CHECKING:
    from .load import LoadedModel

EMBEDDING = -1
"""The index of the row that describes the stream before block 0."""

_DROPPED = 12  # low bits of a float32 that the histogram does not tell apart: 11 bits of mantissa are left
_BINS = 0x7F800000 >> _DROPPED  # all finite magnitudes


class Tokens(Protocol):
    """Rows as input of a model: a Batch, or anything with these two attributes."""

    @property
    def input_ids(self) -> Tensor:
        """int64 (rows, length)."""

    @property
    def attention_mask(self) -> Tensor:
        """(rows, length): 0 at padding, which is on the left."""


@dataclass(frozen=True)
class BlockActivation:
    """Statistics of |h| over all real tokens and channels of the output h of a block."""

    index: int
    mean: float
    median: float
    """Within 0.05% below the true (lower) median; exact for float16 and bfloat16."""
    max: float
    position: int
    """Where the max is: tokens after the first real token of its row (0: the first token)."""
    channel: int
    token: int
    """The id of the token at that position."""

    @property
    def ratio(self) -> float:
        """How abnormal the largest activation is: max / median."""
        return self.max / self.median if self.median > 0 else float("inf") if self.max > 0 else 0.0


@torch.no_grad()
def block_activations(
    loaded: LoadedModel, batches: Iterable[Tokens], *, embedding: bool = False
) -> list[BlockActivation]:
    """One entry a decoder block, in order, over all `batches`; one forward pass a batch.

    A batch has input_ids and attention_mask, both (rows, length). Padding is left out, the first token is not: in
    many models it is the one that carries the outlier. Nothing is stored but sums and a histogram a block, so the
    number of batches is free. With `embedding` the first entry, of index EMBEDDING, is the stream before block 0.

    Raises ZobenchError when activations are not finite, when there is no real token, or when a block puts out no
    (rows, length, channels) stream.
    """
    blocks = loaded.blocks
    running = {block.index: _Running(f"block {block.index}") for block in blocks}
    with ExitStack() as hooks:
        current: list[_Tokens] = []
        for block in blocks:
            hook = _on_output(running[block.index], current)
            hooks.callback(block.module.register_forward_hook(hook).remove)
        if embedding:
            running = {EMBEDDING: _Running("the embedding"), **running}
            first = _on_input(running[EMBEDDING], current)
            hooks.callback(blocks[0].module.register_forward_pre_hook(first, with_kwargs=True).remove)
        for batch in batches:
            body_forward(loaded, batch, lambda ids, mask: current.__setitem__(slice(None), [_Tokens(ids, mask.bool())]))
    return [seen.result(index) for index, seen in running.items()]


@torch.no_grad()
def body_forward(loaded: LoadedModel, batch: Tokens, before: Callable[[Tensor, Tensor], None] | None = None) -> None:
    """One forward pass over a batch without the head, for what hooks on the model's modules see.

    A batch has input_ids and attention_mask, both (rows, length); what the model must be told of padding it is told.
    Rows of a model that sees padding run without it, those of one length together. `before` is called with the ids and
    the mask of what is run, just before it is.
    """
    forward = Forward.of(loaded).through(_body(loaded.model, loaded.blocks[0].module))
    ids, mask = batch.input_ids.to(loaded.device), batch.attention_mask.to(loaded.device)
    for part, of in forward.parts(ids, mask):
        if before is not None:
            before(part, of)
        forward.body(part, of)


class _Tokens:
    """The real tokens of a batch in the order in which a mask picks them."""

    def __init__(self, ids: Tensor, mask: Tensor) -> None:
        self.mask = mask
        rows, columns = mask.nonzero(as_tuple=True)
        first = mask.int().argmax(dim=1)
        self.positions, self.ids = columns - first[rows], ids[mask]


class _Running:
    """The statistics so far of one place in the stream."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.count, self.total, self.max = 0, 0.0, -1.0
        self.position = self.channel = self.token = 0
        self.histogram: Tensor | None = None

    def see(self, stream: Any, tokens: _Tokens) -> None:
        if isinstance(stream, tuple | list):
            stream = stream[0]
        if not isinstance(stream, Tensor) or stream.ndim != 3 or stream.shape[:2] != tokens.mask.shape:
            got = tuple(stream.shape) if isinstance(stream, Tensor) else type(stream).__name__
            raise ZobenchError(f"{self.place} puts out {got}, not a stream of (rows, length, channels)")
        size = stream[tokens.mask.to(stream.device)].float().abs()  # (tokens, channels)
        if size.numel() == 0:
            return
        highest = size.argmax()
        value = float(size.flatten()[highest])
        total = float(size.sum(dtype=widest(size.device)))
        if not total < float("inf"):  # inf and NaN alike: every entry is in the sum
            raise ZobenchError(
                f"activations after {self.place} are not finite in {str(stream.dtype).removeprefix('torch.')}; "
                "load the model with --dtype bfloat16 or float32"
            )
        self.count, self.total = self.count + size.numel(), self.total + total
        bins = torch.bincount(size.view(torch.int32).flatten() >> _DROPPED, minlength=_BINS)
        self.histogram = bins if self.histogram is None else self.histogram.add_(bins)
        if value > self.max:
            token, self.channel = divmod(int(highest), size.shape[1])
            self.max, self.position, self.token = value, int(tokens.positions[token]), int(tokens.ids[token])

    def result(self, index: int) -> BlockActivation:
        if self.histogram is None:
            raise ZobenchError("activations need at least one batch with a real token; there was none")
        return BlockActivation(
            index, self.total / self.count, self._median(), self.max, self.position, self.channel, self.token
        )

    def _median(self) -> float:
        """The lower edge of the bin of the lower median: magnitudes sort as their bits do."""
        assert self.histogram is not None
        below = self.histogram.cumsum(0).cpu()
        middle = torch.tensor((self.count - 1) // 2)
        edge = (torch.searchsorted(below, middle, right=True) << _DROPPED).to(torch.int32)
        return float(edge.reshape(1).view(torch.float32))


def _on_output(running: _Running, current: list[_Tokens]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        running.see(output, current[0])

    return hook


def _on_input(running: _Running, current: list[_Tokens]) -> Callable[[nn.Module, Any, dict[str, Any]], None]:
    def hook(module: nn.Module, inputs: Any, named: dict[str, Any]) -> None:
        running.see(inputs[0] if inputs else named.get("hidden_states"), current[0])

    return hook


def _body(model: Any, block: nn.Module) -> Any:
    """The model without its head, which the blocks do not need and which costs most for a large vocabulary."""
    body = getattr(model, "base_model", model)
    return body if isinstance(body, nn.Module) and any(m is block for m in body.modules()) else model
