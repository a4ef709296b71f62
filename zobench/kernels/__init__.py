"""Kernels in Triton: counter-based noise that is drawn where it is added, so that it never passes through memory.

Light: triton is imported where a kernel is first used, and zobench works without it.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec

import torch

MOST_TERMS = 2
"""Noises that one pass may add: restore and update are of one, the next perturbation is of another."""


@cache
def usable(kind: str) -> bool:
    """Whether kernels run on devices of this type ("cuda", "cpu"): on GPUs where triton is installed.

    With TRITON_INTERPRET=1 in the environment they are interpreted on the CPU, for tests.
    """
    wanted = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    return kind == wanted and find_spec("triton") is not None


def takes(tensor: torch.Tensor) -> bool:
    """Whether kernels take this tensor of weights: where they run, float32 or narrower, in one piece of memory."""
    return (
        usable(tensor.device.type)
        and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and tensor.is_contiguous()
    )
