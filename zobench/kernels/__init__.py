"""Kernels in Triton: counter-based noise that is drawn where it is added, so that it never passes through memory.

Light: triton is imported where a kernel is first used, and zobench works without it.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

from .terms import MOST_TERMS

__all__ = ["LEAST", "MOST_TERMS", "drawn_by", "takes", "usable", "why_not"]

LEAST = (3, 3)
"""The first version of Triton in which kernels may make tuples."""


def usable(kind: str) -> bool:
    """Whether kernels run on devices of this type ("cuda", "cpu"): on GPUs where one was compiled and run.

    Elsewhere noise is drawn in torch: torch.compile would be no way between the two, as it makes code for these GPUs
    by triton alone. With TRITON_INTERPRET=1 in the environment kernels are interpreted on the CPU, for tests.
    """
    return why_not(kind) is None


@cache
def why_not(kind: str) -> str | None:
    """Why kernels do not run on devices of this type; None where they do.

    That triton is there says little: it needs a C compiler for what launches kernels, and a driver that it knows. So
    the first use compiles a kernel and runs it.
    """
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if kind != ("cpu" if interpreted else "cuda"):
        return f"there are no kernels for {kind}"
    if not interpreted and not torch.cuda.is_available():
        return "torch sees no GPU"
    if find_spec("triton") is None:
        return "triton is not installed"
    from triton import __version__ as version

    if tuple(map(int, version.split(".")[:2])) < LEAST:
        return f"triton {version} is older than {'.'.join(map(str, LEAST))}"
    return None if interpreted else _fault(kind)


def _fault(kind: str) -> str | None:
    """What is raised where a kernel is compiled and run on a device of this type; None: it gave what it must."""
    try:
        from .adding import add

        base = torch.zeros(4, device=kind)
        add(base, base, [0], ["rademacher"], torch.ones(1, 1, device=kind), 7)
        return None if bool((base.abs() == 1).all()) else "a kernel gave wrong numbers"
    except Exception as e:  # whatever compilers and drivers raise
        return (str(e).strip() or type(e).__name__).splitlines()[0]


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
