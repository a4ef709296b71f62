"""Short rows laid out in several ways, and what a model says of their tokens: does it say of them what it says of a row
alone?
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..errors import ZobenchError, out_of_memory
from .forward import Forward
from .last_block import Places
from .positions import side_by_side
from .text import text_config

if TYPE_CHECKING:
    from .subject import Subject

T = TypeVar("T")
Row = tuple[int, ...]

LENGTHS = (6, 17, 40)
"""Tokens of the rows that are tried; the second row begins as the third does."""
SLACK = 2
"""Two ways agree if they differ by so many times the noise."""
FAULTS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, ZobenchError)
"""What a model may raise that is called in a way it cannot be called in. Memory that runs out is none of these."""


def rows_for(loaded: Subject) -> list[Row]:
    """Rows of ordinary tokens, all different where there are enough, within the model's context."""
    special = set(_special(loaded))
    ids = [i for i in range(loaded.vocabulary) if i not in special] or list(range(loaded.vocabulary))
    rng, longest = Random("capabilities"), max(2, min(LENGTHS[-1], loaded.context_length))
    drawn = rng.sample(ids, longest) if len(ids) >= longest else rng.choices(ids, k=longest)
    other = rng.choices(ids, k=min(LENGTHS[0], longest))
    return [tuple(other), tuple(drawn[: min(LENGTHS[1], longest - 1)]), tuple(drawn)]


def _special(loaded: Subject) -> Iterator[int]:
    """Ids that stand for no text: ends, padding, pictures."""
    yield loaded.pad_id
    for owner in (loaded.tokenizer, loaded.model.config, text_config(loaded.model)):
        for name in dir(owner):
            if name.endswith(("token_id", "token_index")):
                found = getattr(owner, name, None)
                yield from (i for i in (found if isinstance(found, list) else [found]) if isinstance(i, int))


class Laid(Protocol):
    """Rows as tensors."""

    def said(self, forward: Forward, copies: int = 1) -> list[Tensor]:
        """What is said of the tokens of each row, (tokens, vocabulary), of one copy of the rows after the other."""


@dataclass(frozen=True)
class Padded:
    """Rows padded on the left."""

    ids: Tensor
    mask: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], loaded: Subject) -> Padded:
        """The rows where the model is."""
        longest = max(map(len, rows))
        ids = [[loaded.pad_id] * (longest - len(row)) + list(row) for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return cls(torch.tensor(ids, device=loaded.device), torch.tensor(mask, device=loaded.device))

    def said(self, forward: Forward, copies: int = 1) -> list[Tensor]:
        """As Laid's."""
        ids, mask = self.ids.repeat(copies, 1), self.mask.repeat(copies, 1)
        out = centred(forward.rows(ids, mask))
        return [one[known.bool()] for one, known in zip(out, mask, strict=True)]


@dataclass(frozen=True)
class InBins:
    """Three rows, the first and the last side by side, the other in a bin of its own."""

    ids: Tensor
    places: Tensor
    seen: Tensor
    looked: Places
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, rows: Sequence[Row], loaded: Subject) -> InBins:
        """The rows where the model is."""
        ids, places, seen, begins = side_by_side(rows, [[0, 2], [1]], len(rows[0]) + len(rows[2]), loaded.pad_id)
        at = torch.cat([torch.arange(b, b + len(row)) for b, row in zip(begins, rows, strict=True)])
        slot = at % ids.shape[1]
        looked = Places(at, slot, int(slot.max()) + 1, ids.numel())
        where = loaded.device
        return cls(ids.to(where), places.to(where), seen.to(where), looked.to(where), tuple(map(len, rows)))

    def said(self, forward: Forward, copies: int = 1) -> list[Tensor]:
        """As Laid's."""
        ids, places, seen = (x.repeat(copies, *[1] * (x.ndim - 1)) for x in (self.ids, self.places, self.seen))
        out = centred(forward.packed(ids, places, seen, self.looked))
        return [row for copy in out for row in copy.split_with_sizes(self.lengths)]


def centred(logits: Tensor) -> Tensor:
    """Logits up to what the softmax does not see, in float32."""
    logits = logits.float()
    return logits - logits.mean(-1, keepdim=True)


def apart(a: Sequence[Tensor], b: Sequence[Tensor], dtype: torch.dtype) -> float:
    """How far what is said of the tokens of some rows is apart, relative to its size; infinite where it is no number.

    In float32 of the token where it is most. In a dtype of half the bits a rounding may send a token to other experts,
    after which it is another: there of the median token of the row where that is most.
    """
    share, found = 1.0 if full_precision(dtype) else 0.5, [0.0]
    for one, other in zip(a, b, strict=True):
        of_tokens = (one - other).norm(dim=-1) / other.norm(dim=-1).clamp(min=1e-12)
        finite = bool(of_tokens.isfinite().all())
        found.append(float(of_tokens.quantile(share)) if finite else float("inf"))
    return max(found)


def full_precision(dtype: torch.dtype) -> bool:
    """Whether it is float32 or finer."""
    return torch.finfo(dtype).bits >= 32


def limit(dtype: torch.dtype, noise: float) -> float:
    """How far two ways may be apart of a model with so much noise: never less than what its dtype rounds."""
    eps = torch.finfo(torch.float32 if full_precision(dtype) else dtype).eps
    least, most = (64 * eps, 1e-3) if full_precision(dtype) else (2 * eps, 0.25)
    return min(max(SLACK * noise, least), most)


@contextmanager
def rounded(loaded: Subject) -> Iterator[None]:
    """Inside, what enters each decoder block is off by a last bit here and there, as kernels round it otherwise."""

    def off(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args and isinstance(args[0], Tensor):
            return (_off(args[0]), *args[1:]), kwargs
        if isinstance(kwargs.get("hidden_states"), Tensor):
            kwargs = {**kwargs, "hidden_states": _off(kwargs["hidden_states"])}
        return args, kwargs

    blocks = tried(lambda: loaded.blocks) or []
    hooks = [block.module.register_forward_pre_hook(off, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _off(x: Tensor) -> Tensor:
    """x, every second entry larger by a last bit."""
    bit = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device)
    bit[::2] = torch.finfo(x.dtype).eps
    return x + x * bit


def tried(call: Callable[[], T]) -> T | None:
    """What the call returns; None where the model cannot be called so. Memory that runs out is raised."""
    try:
        return call()
    except FAULTS as error:
        if out_of_memory(error):
            raise
        return None
