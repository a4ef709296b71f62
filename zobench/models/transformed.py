"""A model whose blocks put out something else: hooks on their outputs, for as long as they are wanted."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import ZobenchError
from .subject import Subject
from .text import goes_on


class Change(Protocol):
    """A change of what one decoder block puts out (zobench.contracts.transform.Transform)."""

    @property
    def at(self) -> int:
        """Which one."""

    def output(self, stream: Tensor, first: Tensor) -> Tensor:
        """What it puts out instead, (rows, length, channels); first: bool (rows, length)."""


@contextmanager
def transformed(loaded: Subject, changes: Sequence[Change]) -> Iterator[None]:
    """Inside, these blocks of the model put out what the changes make of it, in whatever forward, in their order.

    Which token is the first of its text is told by what the model is given: places, else the mask, else that it is at
    the left and no earlier tokens are known. ZobenchError, in the forward, where a block puts out no stream.
    """
    if not changes:
        yield
        return
    body = loaded.model.get_submodule(loaded.blocks[0].name.rsplit(".", 2)[0])  # whose forward calls the blocks
    firsts = FirstTokens(body)
    with ExitStack() as hooks:
        hooks.callback(body.register_forward_pre_hook(firsts.see, with_kwargs=True).remove)
        for change in changes:
            hook = _hook(change, firsts)
            hooks.callback(loaded.blocks[change.at].module.register_forward_hook(hook).remove)
        yield


class FirstTokens:
    """Which tokens of the forward that is under way are the first of their text."""

    def __init__(self, body: nn.Module) -> None:
        self._names = list(inspect.signature(body.forward).parameters)
        self._first: Tensor | None = None

    def see(self, body: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """What the model is called on."""
        self._first = first_tokens({**dict(zip(self._names, args, strict=False)), **kwargs})

    def of(self, stream: Tensor) -> Tensor:
        """Bool (rows, length), for a stream of these rows, or of copies of them one after the other."""
        first = self._first
        if first is None or stream.shape[0] % first.shape[0] or stream.shape[1] != first.shape[1]:
            raise ZobenchError(
                f"a transform cannot tell the tokens of a stream of {tuple(stream.shape)}: set rows=replicated and "
                "prefix_cache=off"
            )
        return first.to(stream.device).repeat(stream.shape[0] // first.shape[0], 1)


def first_tokens(given: Mapping[str, Any]) -> Tensor:
    """Of the arguments of a call which tokens are the first of their text, bool (rows, length).

    Rows are padded on the left where the mask, (rows, length), is 0, or packed: then places begin at 0 for each text.
    """
    ids = given["input_ids"] if isinstance(given.get("input_ids"), Tensor) else given["inputs_embeds"]
    (rows, length), places, mask = ids.shape[:2], given.get("position_ids"), given.get("attention_mask")
    real = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None
    if isinstance(places, Tensor):
        first: Tensor = (places if places.ndim == 2 else places[0]) == 0
        return first.expand(rows, length) if real is None else first & real[:, -length:]
    if real is not None:
        return (real & (real.cumsum(-1) == 1))[:, -length:]
    first = torch.zeros(rows, length, dtype=torch.bool, device=ids.device)
    first[:, :1] = not goes_on(given)
    return first


def _hook(change: Change, firsts: FirstTokens) -> Callable[[nn.Module, Any, Any], Any]:
    def changed(module: nn.Module, args: Any, output: Any) -> Any:
        stream = output[0] if isinstance(output, tuple) else output
        if not isinstance(stream, Tensor) or stream.ndim != 3:
            raise ZobenchError(f"block {change.at} puts out no stream of (rows, length, channels) to transform")
        made = change.output(stream, firsts.of(stream))
        return (made, *output[1:]) if isinstance(output, tuple) else made

    return changed
