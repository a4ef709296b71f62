"""What the machine can do at most, measured in the same run: bytes copied and products summed, a second."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .. import devices

SIZES = {True: (2**30, 8192), False: (2**27, 1024)}
"""Bytes of the copy, rows and columns of the product: on a GPU, and on a CPU."""


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at best, measured."""

    copy_gbs: float
    """Gigabytes a second, read and written, of a copy larger than any cache."""
    gemm_tflops: float
    """Teraflops a second of a large matrix product in the model's dtype."""


def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Medians of five, after one that is not counted."""
    size, side = SIZES[devices.beside(device)]
    source = torch.zeros(size // dtype.itemsize, dtype=dtype, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copy = _seconds(lambda: target.copy_(source), device)
    product = _seconds(lambda: left @ right, device)
    return Ceilings(2 * size / copy / 1e9, 2 * side**3 / product / 1e12)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if devices.beside(device) else time.process_time
    taken = []
    for _ in range(6):
        devices.synchronize([device])
        start = clock()
        work()
        devices.synchronize([device])
        taken.append(clock() - start)
    return statistics.median(taken[1:])
