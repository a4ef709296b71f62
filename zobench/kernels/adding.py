"""One pass over weights: out_j = base + sum over t of c_jt z_t, for one point or several, of one noise or several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from .philox import noise
from .terms import MOST_TERMS

BLOCK = 2048
WARPS = 4


# a step's seeds are new numbers: they must not compile new kernels
_NUMBERS = ["begin", "seed0", "seed1", "seed2", "seed3", "seed4", "seed5", "seed6", "seed7"]


@triton.jit(do_not_specialize=_NUMBERS)
def add_noise(
    base_ptr, out_ptr, coefficients_ptr, n, begin, seed0, seed1, seed2, seed3, seed4, seed5, seed6, seed7,
    POINTS: tl.constexpr, TERMS: tl.constexpr, SIGNS: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Of base and out: n entries, of out for every point one after the other; coefficients: float32 (POINTS, TERMS).

    Arithmetic is float32, with one rounding when it is stored. All noise is drawn before anything is stored, so out may
    be base. begin: the number of the first entry in its stream, in blocks of BLOCK. The first TERMS seeds are of noises
    that are added; bit t of SIGNS: noise t is of signs.
    """
    pid = tl.program_id(0).to(tl.int64)
    at = pid * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    inside = at < n
    base = tl.load(base_ptr + at, mask=inside).to(tl.float32)
    seeds = (seed0, seed1, seed2, seed3, seed4, seed5, seed6, seed7)
    z = ()
    for t in tl.static_range(TERMS):
        z = z + (noise(seeds[t], begin + pid, (SIGNS >> t) & 1, BLOCK, ROUNDS),)  # type: ignore[assignment]
    for j in tl.static_range(POINTS):
        value = base
        for t in tl.static_range(TERMS):
            value += tl.load(coefficients_ptr + j * TERMS + t) * z[t]
        tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=inside)
        out_ptr += n  # not j * n: that may be more than the 32 bits of n can hold


def add(
    base: Tensor, out: Tensor, seeds: Sequence[int], kinds: Sequence[str], coefficients: Tensor, rounds: int
) -> None:
    """Make out[j] = base + sum over t of coefficients[j, t] z_t, z_t the noise of that seed and kind.

    Args:
        base: contiguous, any float dtype of 32 bits or less. out: (points, *base.shape), contiguous; of one point it
            may be base. seeds: at most MOST_TERMS, of 63 bits. kinds: "gaussian" or "rademacher". coefficients: float32
            (points, terms), where the weights are: nothing waits for the device.
    """
    terms, n = len(seeds), base.numel()
    if not 1 <= terms <= MOST_TERMS:
        raise ValueError(f"{terms} noises in a pass: 1 to {MOST_TERMS} can be added")
    signs = sum(1 << t for t, kind in enumerate(kinds) if kind == "rademacher")
    with torch.cuda.device(base.device) if base.is_cuda else nullcontext():
        add_noise[(triton.cdiv(n, BLOCK),)](
            base, out, coefficients, n, 0, *seeds, *[0] * (MOST_TERMS - terms),
            POINTS=len(coefficients), TERMS=terms, SIGNS=signs, BLOCK=BLOCK, ROUNDS=rounds,
            num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
