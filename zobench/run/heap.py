"""Memory that tensors on a CPU have freed: glibc keeps some of it for the next ones, as torch does on a GPU.

Left alone it gives most back to the system as soon as it is free, so that every forward has its pages made anew and
zeroed: a third of the time of a batch of long rows. Numbers do not depend on it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

KEPT = 2**27
"""Bytes that are kept at most: as many as the activations of a batch of a small model."""
_AT_ONCE = 2**25
"""Larger tensors are given back at once: the most that glibc's heap takes."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h of glibc numbers them
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


@cache
def keep_freed() -> bool:
    """Have this process keep up to KEPT bytes of what tensors free; whether it does now.

    Not where the user's environment says what the C library shall do, nor with another one than glibc.
    """
    set_ = _function("mallopt")
    if set_ is None or any(name in os.environ for name in _OF_THE_USER):
        return False
    return bool(set_(_MMAP_THRESHOLD, _AT_ONCE)) and bool(set_(_TRIM_THRESHOLD, KEPT))


def give_back() -> None:
    """Give what is kept now back to the system: what follows is measured without it."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Any:
    """A function of the C library; None where it has none of this name."""
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # Windows
        return None
