"""Forward passes of a causal language model: the one place where the arguments of a call are put together.

Rows come padded on the left, packed, or alone. Which arguments a model needs for each of these was measured when it was
loaded (zobench.models.capabilities).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from .last_block import Places, Tail
from .positions import position_ids, rows_by_length
from .subject import Subject
from .text import text_config

Call: TypeAlias = Callable[..., Any]
"""Called with keyword arguments, returns an object with `.logits`: a model, or what an engine makes of one."""

Padding: TypeAlias = Literal["masked", "positions", "seen"]
"""What padding on the left does to a row. `masked`: nothing, given the mask. `positions`: nothing, given the positions
of tokens too. `seen`: it changes the outputs whatever is given, so rows are not padded, and those of one length run
together.
"""


@dataclass(frozen=True)
class Takes:
    """The arguments that the forward of a model takes, by its signature."""

    logits_to_keep: bool
    use_cache: bool
    position_ids: bool

    @classmethod
    def of(cls, model: Any) -> Takes:
        """Of this model; nothing for one whose signature cannot be read."""
        names = inspect.signature(model.forward).parameters
        return cls("logits_to_keep" in names, "use_cache" in names, "position_ids" in names)


@dataclass(frozen=True)
class Packing:
    """How a model is given packed rows."""

    head: Any
    """The module that projects to the vocabulary; it is given only the positions whose logits are read."""
    additive: torch.dtype | None
    """The dtype in which the model adds attention masks; None: it takes them as booleans."""
    tail: Tail | None = None
    """The last block, if it can compute only the positions whose logits are read (zobench.models.last_block)."""
    least: float = -math.inf
    """What is added where a token is not seen."""

    @classmethod
    def of(cls, model: Any) -> Packing | None:
        """None for a model that has no head of its own."""
        head = head_of(model)
        if head is None:
            return None
        dtype, device = dtype_of(model), next(model.parameters()).device
        if getattr(text_config(model), "_attn_implementation", "") != "sdpa":
            return cls(head, dtype, least=torch.finfo(dtype).min)
        # on a CPU torch would make of booleans what is added in each block anew, to the same bits
        return cls(head, dtype if device.type == "cpu" and dtype == torch.float32 else None)


class Can(Protocol):
    """What a forward pass must know about the model (zobench.models.capabilities.Capabilities)."""

    @property
    def padding(self) -> Padding:
        """What padding does to a row."""

    @property
    def cache(self) -> str | None:
        """The name of the keys and values that generation goes on from."""

    def packing(self, loaded: Subject) -> Packing | None:
        """How packed rows are given; None: they cannot be."""


class Measured(Subject, Protocol):
    """A model, and what it can do: a LoadedModel."""

    @property
    def capabilities(self) -> Can:
        """What it can do."""


@dataclass(frozen=True)
class Forward:
    """Calls of one model, or of what an engine makes of it."""

    call: Call
    """The model, or what an engine makes of it."""
    padding: Padding = "masked"
    """What padding does to a row."""
    keep: bool = False
    """The call takes `logits_to_keep`, and is asked for the logits that are read alone."""
    use_cache: bool = False
    """The call takes that argument."""
    cache: str | None = None
    """The name under which the call takes and gives the keys and values of earlier tokens; None: it cannot go on from
    them."""
    float32: bool = False
    """Logits are converted before they are read."""
    packing: Packing | None = None
    """How packed rows are given; None: they cannot be."""
    slow_head: Any = None
    """The head, where torch multiplies a slice of positions much slower than the same numbers row after row."""

    @classmethod
    def of(cls, loaded: Measured, *, keep: bool = True, float32: bool = False) -> Forward:
        """Calls of this model by what it can do. `keep` False: logits at all positions, as MeZO takes them."""
        takes, can = Takes.of(loaded.model), loaded.capabilities
        return cls(
            loaded.model,
            padding=can.padding,
            keep=keep and takes.logits_to_keep,
            use_cache=takes.use_cache,
            cache=can.cache,
            float32=float32,
            packing=can.packing(loaded),
            slow_head=head_of(loaded.model) if _slow_with_slices(loaded.model) else None,
        )

    def through(self, call: Call) -> Forward:
        """The same calls of what an engine makes of the model."""
        return replace(self, call=call)

    @property
    def cuts_the_last_block(self) -> bool:
        """Whether, with packed rows, the last block computes only the positions whose logits are read."""
        return self.packing is not None and self.packing.tail is not None and self.packing.tail.free

    def rows(self, ids: Tensor, mask: Tensor | None = None, last: int | None = None) -> Tensor:
        """Logits (rows, last or length, vocabulary) at the `last` positions of rows, or at all.

        ids: int64 (rows, length), padded on the left where `mask` (rows, length) is 0; None: there is no padding.
        """
        if mask is not None and self.padding == "seen":
            return self._unpadded(ids, mask, last)
        kept = {"logits_to_keep": last} if self.keep and last is not None else {}
        out = self._output(ids, mask, **kept).logits
        return self._read(out if last is None else out[:, -last:])

    def calls(self, mask: Tensor) -> int:
        """Number of calls of the model that `rows` makes for rows with this mask."""
        return len(rows_by_length(mask)) if self.padding == "seen" else 1

    def packed(self, ids: Tensor, places: Tensor, seen: Tensor, looked: Places) -> Tensor:
        """Logits (1, n, vocabulary) at the n places looked at of packed rows: others do not reach the head.

        Of a forward over several copies of them, one after the other: (copies, n, vocabulary).
        ids, places: int64 (bins, length). seen: bool (bins, 1, length, length), which tokens a token sees.
        """
        packing = self.packing
        assert packing is not None
        if packing.additive is not None:
            zero = torch.zeros(seen.shape, dtype=packing.additive, device=seen.device)
            seen = zero.masked_fill_(~seen, packing.least)
        cut = packing.tail if self.cuts_the_last_block else None
        with _given(packing.head, looked.of) if cut is None else cut.only(looked):
            out = self.call(input_ids=ids, attention_mask=seen, position_ids=places, **self._uncached()).logits
        return self._read(out)

    def next(self, ids: Tensor, mask: Tensor | None, past: Any) -> tuple[Tensor, Any]:
        """Logits (rows, vocabulary) of what follows rows, and what the next call may go on from.

        ids: (rows, length), padded on the left where `mask` is 0; with `past`, of an earlier call, all tokens
        that came since are the last of `ids`. Not for models that see padding, unless there is none.
        """
        given: dict[str, Any] = {"logits_to_keep": 1} if self.keep else {}
        if self.cache is None:
            return self._output(ids, mask, **given).logits[:, -1], None
        given.update({"use_cache": True} if self.use_cache else {})
        if past is not None:
            given[self.cache], ids = past, ids[:, -1:]
        out = self._output(ids, mask, **given)
        return out.logits[:, -1], getattr(out, self.cache)

    def output(self, ids: Tensor, mask: Tensor, **options: Any) -> Any:
        """All that the model puts out for rows, with logits at their last token where it can leave out others.

        `options` go to the call. Of models that see padding, an object with the output's tensors alone, those of rows
        of all lengths put together, with 0 at padding.
        """
        given = {**({"logits_to_keep": 1} if self.keep else {}), **options}
        if self.padding != "seen":
            return self._output(ids, mask, **given)
        parts = [(rows, self._output(part, None, **given)) for rows, part in _parts(ids, mask)]
        return SimpleNamespace(**{name: _joined(name, parts, ids) for name in _named(parts[0][1])})

    def parts(self, ids: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Ids and mask of what may be run in one call: all rows, or of models that see padding those of each length."""
        if self.padding != "seen":
            yield ids, mask
            return
        for _, part in _parts(ids, mask):
            yield part, torch.ones_like(part)

    def body(self, ids: Tensor, mask: Tensor) -> None:
        """A call of a model without its head, for its hooks; the output is dropped."""
        self._output(ids, mask)

    def _output(self, ids: Tensor, mask: Tensor | None, **more: Any) -> Any:
        given = self._uncached()
        if mask is not None and self.padding != "seen":
            given["attention_mask"] = mask
            if self.padding == "positions":
                given["position_ids"] = position_ids(mask)[:, -ids.shape[1] :]
        with _given(self.slow_head, _row_after_row) if "logits_to_keep" in more else nullcontext():
            return self.call(input_ids=ids, **{**given, **more})

    def _uncached(self) -> dict[str, Any]:
        return {"use_cache": False} if self.use_cache else {}

    def _unpadded(self, ids: Tensor, mask: Tensor, last: int | None) -> Tensor:
        """As `rows`, with a call for all rows of one length; 0 where a row has no tokens."""
        length, out = ids.shape[1] if last is None else last, None
        for rows, part in _parts(ids, mask):
            kept = None if last is None else min(last, part.shape[1])
            logits = self.rows(part, None, kept)
            if out is None:
                out = logits.new_zeros(ids.shape[0], length, logits.shape[-1])
            at = torch.arange(length - logits.shape[1], length, device=ids.device)
            out = out.index_put((torch.tensor(rows, device=ids.device)[:, None], at), logits)
        assert out is not None
        return out

    def _read(self, logits: Tensor) -> Tensor:
        """The logits in the dtype that log-probabilities are taken in."""
        return logits.float() if self.float32 else logits


def _parts(ids: Tensor, mask: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """The rows of each length, and their ids without padding; the longest first, so that memory runs out at once."""
    for length, rows in sorted(rows_by_length(mask).items(), reverse=True):
        yield rows, ids[rows, ids.shape[1] - length :]


def _named(output: Any) -> list[str]:
    return [name for name, value in vars(output).items() if isinstance(value, Tensor | tuple)]


def _joined(name: str, parts: list[tuple[list[int], Any]], ids: Tensor) -> Any:
    """The output `name` of rows of all lengths: tensors (rows, length, ...), or a tuple of such."""

    def put(values: list[Tensor]) -> Tensor:
        whole = values[0].new_zeros(ids.shape[0], values[0].shape[1], *values[0].shape[2:])
        for (rows, _), value in zip(parts, values, strict=True):
            whole[rows, whole.shape[1] - value.shape[1] :] = value
        return whole

    values = [getattr(out, name) for _, out in parts]
    if isinstance(values[0], Tensor):
        return put(values)
    return tuple(put(list(one)) for one in zip(*values, strict=True))


@contextmanager
def _given(head: Any, made: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the head is given what is made of its input; without a head nothing changes."""
    hook = None if head is None else head.register_forward_pre_hook(lambda module, args: (made(args[0]), *args[1:]))
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _row_after_row(x: Tensor) -> Tensor:
    """A copy whose strides are those of its shape, which `contiguous` does not see to where a size is 1."""
    return x.new_empty(x.shape).copy_(x)


def _slow_with_slices(model: Any) -> bool:
    """16 bits on a CPU: torch 2.13 lays out the head's weight anew for every row (SmolLM2, 16 rows: 2.2 s for 8 ms)."""
    return dtype_of(model).itemsize == 2 and next(model.parameters()).device.type == "cpu"


def head_of(model: Any) -> Any:
    """The module that projects to the vocabulary; None: the model has none of its own."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def dtype_of(model: Any) -> torch.dtype:
    """The dtype of the model's weights."""
    dtype: torch.dtype = next(model.parameters()).dtype
    return dtype
