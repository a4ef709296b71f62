"""Decoder blocks run by torch.compile: fewer, larger kernels, where a GPU would wait for the launches of small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import ZobenchError
from ..forwards import replaced
from .blocks import Block
from .text import goes_on


@contextmanager
def compiled(blocks: Sequence[Block]) -> Iterator[None]:
    """Inside, these blocks run compiled code, made at the first forward: one for all and for rows of any length.

    Weights may move in place. Calls with a cache of keys and values (generation) run as they were. Raises ZobenchError
    in the first forward where torch.compile cannot make code on this machine.
    """
    with replaced({block.module: _compiled(block.module) for block in blocks}):
        yield


def _compiled(module: nn.Module) -> Callable[..., Any]:
    plain = module.forward
    fast: Callable[..., Any] = torch.compile(plain, dynamic=True)

    def forward(*args: Any, **kwargs: Any) -> Any:
        if goes_on(kwargs):
            return plain(*args, **kwargs)
        try:
            return fast(*args, **kwargs)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            why = str(error.inner_exception).strip().splitlines()[0]
            raise ZobenchError(f"torch.compile cannot make code here ({why}): leave compile=blocks out") from error

    return forward
