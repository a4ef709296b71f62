"""Checksums of tensors where they lie: exact sums over their bits, in a fraction of the time of one forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

LANE = 2**16
"""Numbers that one sum is over."""
FEW = 2**13
"""Numbers for which it does not matter how they are summed on a CPU."""
AT_ONCE = 2**24
"""Numbers that are widened at once on a GPU."""


def checksum(tensor: Tensor) -> str:
    """A short text that changes with any bit of the tensor's values, and with its dtype and shape.

    The bits are read as integers x of up to 32 bits (float64 and int64 as two of 32). Of every `LANE` of them the sum
    of w_i x_i is taken modulo 2^64, with odd weights w_i of which no two are equal in their lowest 17 bits: a change
    of one number, or of two that change places, cannot leave it as it was, and any other with a chance of about 2^-64.
    The sums are hashed on the host. It is the same on every device, and whatever the order of the sum.
    """
    return checksums([("", tensor)])[""]


@torch.no_grad()
def checksums(named: Iterable[tuple[str, Tensor]]) -> dict[str, str]:
    """Name to checksum. A tensor that has several names is read once; the host waits once for each device."""
    same: dict[str, str] = {}  # name -> the first name of the same tensor
    first: dict[tuple[object, ...], str] = {}
    tensors, sums = dict[str, Tensor](), dict[str, list[Tensor]]()
    for name, t in named:
        key = (t.device, t.data_ptr(), tuple(t.shape), t.stride(), t.dtype) if t.numel() else (name,)
        same[name] = first.setdefault(key, name)
        if same[name] == name:
            tensors[name], sums[name] = t, list(_sums(_integers(t.detach())))
    hashes = _on_host(sums)
    own = {name: _digest(tensors[name], hashes[name]) for name in tensors}
    return {name: own[other] for name, other in same.items()}


def _on_host(sums: dict[str, list[Tensor]]) -> dict[str, bytes]:
    """The sums of each tensor as bytes, by one copy from each device."""
    out: dict[str, bytes] = {}
    for device in {one.device for parts in sums.values() for one in parts}:
        here = {name: parts for name, parts in sums.items() if parts[0].device == device}
        numbers = torch.cat([one for parts in here.values() for one in parts]).cpu().numpy()
        at = 0
        for name, parts in here.items():
            size = sum(one.numel() for one in parts)
            out[name] = numbers[at : at + size].tobytes()
            at += size
    return out


def _digest(t: Tensor, sums: bytes) -> str:
    return hashlib.blake2b(f"{t.dtype} {tuple(t.shape)} ".encode() + sums, digest_size=16).hexdigest()


def _integers(tensor: Tensor) -> Tensor:
    """Its bits as a flat tensor of integers of at most 32 bits, without a copy where it is contiguous."""
    flat = tensor.contiguous().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    size = flat.element_size()
    return flat.view({1: torch.uint8, 2: torch.int16}.get(size, torch.int32))


def _sums(x: Tensor) -> Iterable[Tensor]:
    """The weighted sums of the lanes, in order, and of what is left: int64."""
    weights = _weights(x.device)
    if x.device.type == "cpu" and x.numel() > FEW:
        yield torch.tensor(_sums_on_host(x.numpy(), weights.numpy()))
        return
    if x.numel() < LANE:
        yield (x * weights[: x.numel()]).sum(0, keepdim=True)
        return
    whole = x.numel() // LANE * LANE
    rows, rest = x[:whole].view(-1, LANE), x[whole:]
    for start in range(0, rows.shape[0], AT_ONCE // LANE):
        yield (rows[start : start + AT_ONCE // LANE] * weights).sum(1)
    yield (rest * weights[: rest.numel()]).sum(0, keepdim=True)


def _sums_on_host(x: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> list[np.int64]:
    """As `_sums`, in one pass that widens a few numbers at a time: torch would write every product to memory."""
    lanes = (x[start : start + LANE] for start in range(0, len(x) + 1, LANE))
    return [np.einsum("i,i->", lane, weights[: len(lane)], dtype=np.int64) for lane in lanes]


@cache
def _weights(device: torch.device) -> Tensor:
    """Odd, all different in the 17 lowest bits, random above them; the same in every process."""
    generator = torch.Generator().manual_seed(0x5EED)
    random = torch.randint(2**46, (LANE,), generator=generator)
    return (random * 2**17 + 2 * torch.arange(LANE) + 1).to(device)
