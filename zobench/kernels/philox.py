"""Philox4x32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and noise made of it, in Triton.

Element i of a tensor is made of the counter i // 4 (normals) or i // 128 (signs) and of the tensor's seed, so it is the
same whatever the block size, the launch or the device; zobench.directions.noise.philox
computes the same in torch.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if INTERPRETED or torch.version.hip is not None:

    @triton.jit
    def _log(x):
        return tl.log(x)

    @triton.jit
    def _sin(x):
        return tl.sin(x)

    @triton.jit
    def _cos(x):
        return tl.cos(x)

else:
    from triton.language.extra.cuda import libdevice

    # one instruction each, off by 2^-22 to 2^-21; the accurate ones have a slow path for large angles, of which there
    # are none here

    @triton.jit
    def _log(x):
        return libdevice.fast_logf(x)

    @triton.jit
    def _sin(x):
        return libdevice.fast_sinf(x)

    @triton.jit
    def _cos(x):
        return libdevice.fast_cosf(x)


@triton.jit
def words(seed, counter, ROUNDS: tl.constexpr):
    """Four uint32 blocks of a 64-bit seed and an int64 block of counters. One wide product a word, not two."""
    M0: tl.constexpr = 0xD2511F53
    M1: tl.constexpr = 0xCD9E8D57
    key, c = seed.to(tl.int64).to(tl.uint64), counter.to(tl.uint64)
    k0, k1 = (key & 0xFFFFFFFF).to(tl.uint32), (key >> 32).to(tl.uint32)
    c0, c1 = (c & 0xFFFFFFFF).to(tl.uint32), (c >> 32).to(tl.uint32)
    c2, c3 = c0 * 0, c0 * 0
    for _ in tl.static_range(ROUNDS):
        p0, p1 = c0.to(tl.uint64) * M0, c2.to(tl.uint64) * M1
        c0, c1 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0, p1.to(tl.uint32)
        c2, c3 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1, p0.to(tl.uint32)
        k0, k1 = (k0 + 0x9E3779B9).to(tl.uint32), (k1 + 0xBB67AE85).to(tl.uint32)
    return c0, c1, c2, c3


@triton.jit
def _one_to_two(word):
    """The high 23 bits as a float in [1, 2): put into a mantissa, so that no conversion is needed."""
    return ((word >> 9) | 0x3F800000).to(tl.float32, bitcast=True)


@triton.jit
def _box_muller(a, b):
    # not -log: that of a number just below 1 is off by up to 2^-22, so it may come out on the wrong side of 0
    radius = tl.sqrt(2.0 * tl.abs(_log(2.0 - _one_to_two(a))))
    angle = _one_to_two(b) * 6.283185307179586 - 9.42477796076938  # from -pi to pi
    return radius * _cos(angle), radius * _sin(angle)


@triton.jit
def normals(seed, block, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):
    """(BLOCK,) float32: standard normals number block * BLOCK and on."""
    counter = block * (BLOCK // 4) + tl.arange(0, BLOCK // 4).to(tl.int64)
    a, b, c, d = words(seed, counter, ROUNDS)
    z0, z1 = _box_muller(a, b)
    z2, z3 = _box_muller(c, d)
    return tl.reshape(tl.join(tl.join(z0, z2), tl.join(z1, z3)), (BLOCK,))


@triton.jit
def signs(seed, block, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):
    """(BLOCK,) float32: signs number block * BLOCK and on, a bit each. BLOCK is a multiple of 128."""
    counter = block * (BLOCK // 128) + tl.arange(0, BLOCK // 128).to(tl.int64)
    a, b, c, d = words(seed, counter, ROUNDS)
    four = tl.reshape(tl.join(tl.join(a, c), tl.join(b, d)), (BLOCK // 32,))
    bits = (four[:, None] >> tl.arange(0, 32).to(tl.uint32)[None, :]) & 1
    return tl.reshape(2.0 * bits.to(tl.float32) - 1.0, (BLOCK,))


@triton.jit
def noise(seed, block, SIGNS: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):
    """Signs or normals."""
    if SIGNS:
        return signs(seed, block, BLOCK, ROUNDS)
    else:
        return normals(seed, block, BLOCK, ROUNDS)
