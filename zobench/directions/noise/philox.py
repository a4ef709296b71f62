"""Counter-based noise: every entry is a function of its tensor's seed and its place, so that kernels draw it anywhere.

Philox4x32 (Salmon et al. 2011) with 7 rounds, the fewest with which it passes the BigCrush tests there; normals by Box
and Muller's method from all four words, 23 bits of each, so that none is beyond 5.65. This is the torch form;
zobench.kernels has the same in Triton, equal up to the rounding of log, sin and cos. On a CPU it is a few times slower
than torch's own generator.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ... import kernels
from ..handle import Handle
from .source import PerTensor, mix

ROUNDS = 7
M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF
PART = 1 << 18
"""Entries that are computed at a time: the words are int64, 8 bytes an entry, and a cache should hold them."""


def words(seed: int, counters: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four 32-bit words of each counter (int64 tensors), for a key of 64 bits."""
    k0, k1 = seed & LOW, (seed >> 32) & LOW
    c0, c1 = counters & LOW, (counters >> 32) & LOW
    c2, c3 = torch.zeros_like(c0), torch.zeros_like(c0)
    for _ in range(rounds):
        # products of 64 bits wrap in int64, but keep their bits: the shift's sign bits are masked away; in place, as
        # most of the time goes into memory
        p0, p1 = c0.mul_(M0), c2.mul_(M1)
        h0 = (p0 >> 32).bitwise_and_(LOW).bitwise_xor_(c3).bitwise_xor_(k1)
        h1 = (p1 >> 32).bitwise_and_(LOW).bitwise_xor_(c1).bitwise_xor_(k0)
        c0, c1, c2, c3 = h1, p1.bitwise_and_(LOW), h0, p0.bitwise_and_(LOW)
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


def normals(seed: int, n: int, device: torch.device, *, begin: int = 0, rounds: int = ROUNDS) -> Tensor:
    """float32 (n,): standard normals number `begin` (a multiple of 4) and on."""
    counters = torch.arange(begin // 4, begin // 4 + -(-n // 4), device=device)
    a, b, c, d = (_one_to_two(word) for word in words(seed, counters, rounds))
    pairs = [_box_muller(a, b), _box_muller(c, d)]
    return torch.stack([*pairs[0], *pairs[1]], dim=-1).flatten()[:n]


def signs(seed: int, n: int, device: torch.device, *, begin: int = 0, rounds: int = ROUNDS) -> Tensor:
    """float32 (n,): signs number `begin` (a multiple of 128) and on, a bit each."""
    counters = torch.arange(begin // 128, begin // 128 + -(-n // 128), device=device)
    four = torch.stack(words(seed, counters, rounds), dim=-1).flatten()
    bits = (four[:, None] >> torch.arange(32, device=device)) & 1
    return (2.0 * bits.float() - 1.0).flatten()[:n]


def _one_to_two(word: Tensor) -> Tensor:
    """The high 23 bits as a float32 in [1, 2): put into a mantissa."""
    return ((word >> 9) | 0x3F800000).to(torch.int32).view(torch.float32)


def _box_muller(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    radius = (2.0 - a).log_().mul_(-2.0).sqrt_()
    angle = (b * (2 * math.pi)).sub_(3 * math.pi)
    return radius * angle.cos(), radius.mul_(angle.sin_())


class Philox(PerTensor):
    """Noise by counters. Seeds as per_tensor's: 63 bits of blake2b of (step seed, kind, tensor name)."""

    name: ClassVar[str] = "philox"
    rounds: ClassVar[int] = ROUNDS

    def key(self, seed: int, kind: str, p: Handle) -> int:
        """The tensor's own seed."""
        return mix(seed, kind, p.name)

    def draw(self, seed: int, kind: str, p: Handle, shape: tuple[int, ...], *, full_shape: bool) -> Tensor:
        device, key, n = p.param.device, self.key(seed, kind, p), math.prod(shape)
        if kernels.usable(device.type) and n:
            from ...kernels.adding import add

            zeros, one = torch.zeros(shape, device=device), torch.ones(1, 1, device=device)
            add(zeros, zeros, [key], [kind], one, self.rounds)
            return zeros
        of = normals if kind == "gaussian" else signs
        parts = [of(key, min(PART, n - i), device, begin=i, rounds=self.rounds) for i in range(0, n, PART)]
        return torch.cat(parts).view(shape) if parts else torch.empty(shape, device=device)
