"""transformers' models without what few of them need: its import would take longer than torch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..deferred import put_off, uncollected
from .listing import listed_quickly

PUT_OFF = (
    "torch.distributed.tensor",
    "torch.distributed.fsdp",
    "torch.distributed._composable",
    "torch.distributed.checkpoint",
    "torch._dynamo",
    "scipy.optimize",
)
"""For tensor-parallel and sharded models, for compiled ones, and for losses of object detection."""


class Unfilled(TorchFunctionMode):
    """Inside, tensors on the meta device are not filled with numbers, and ranges of numbers are made on the CPU.

    They have no numbers: only torch's reference functions in Python would be run, which import its compiler.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As TorchFunctionMode has it."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        elif func is torch.arange and torch.device(kwargs.get("device") or "cpu").type == "meta":
            kwargs = {**kwargs, "device": "cpu"}
        return func(*args, **kwargs)


@contextmanager
def lightly() -> Iterator[None]:
    """Inside, transformers' modules are imported, and models made, without what is in PUT_OFF where they can be."""
    with uncollected(), listed_quickly(), put_off(*PUT_OFF, within=("transformers.", "torch.compiler")), Unfilled():
        yield
