"""Kernels in Triton: counter-based noise that is drawn where it is added, so that it never passes through memory.

Light: triton is imported where a kernel is first used, and zobench works without it.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

MOST_TERMS = 8
"""Noises that one pass may add: a restore and an update are of one, the next perturbation is of another; a step along
q directions has q. As many as a thread has registers for."""


LEAST = (3, 3)
"""The first version of Triton in which kernels may make tuples."""


@cache
def usable(kind: str) -> bool:
    """Whether kernels run on devices of this type ("cuda", "cpu"): on GPUs where a triton that is new enough is.

    Elsewhere noise is drawn in torch: torch.compile would be no way between the two, as it makes code for these GPUs
    by triton alone. With TRITON_INTERPRET=1 in the environment kernels are interpreted on the CPU, for tests.
    """
    wanted = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
    if kind != wanted or find_spec("triton") is None:
        return False
    from triton import __version__ as version

    return tuple(map(int, version.split(".")[:2])) >= LEAST


def drawn_by(kind: str) -> Literal["triton", "torch"]:
    """What draws counter-based noise on devices of this type, as records name it."""
    return "triton" if usable(kind) else "torch"


def takes(tensor: torch.Tensor) -> bool:
    """Whether kernels take this tensor of weights: where they run, float32 or narrower, in one piece of memory."""
    return (
        usable(tensor.device.type)
        and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and tensor.is_contiguous()
    )
