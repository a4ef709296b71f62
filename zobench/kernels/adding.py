"""One pass over weights: out_j = base + sum of c_jt z_t, for one point or several, of one noise or two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import MOST_TERMS
from .philox import noise

BLOCK = 2048
WARPS = 4


@triton.jit(do_not_specialize=["first", "second", "begin"])  # a step's seeds are new: they must not compile new kernels
def add_noise(
    base_ptr, out_ptr, coefficients_ptr, n, begin, first, second,
    POINTS: tl.constexpr, TERMS: tl.constexpr, SIGNS0: tl.constexpr, SIGNS1: tl.constexpr,
    BLOCK: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Of base and out: n entries, of out for every point one after the other; coefficients: float32 (POINTS, TERMS).

    Arithmetic is float32, with one rounding when it is stored. All noise is drawn before anything is stored, so out may
    be base. begin: the number of the first entry in its stream, in blocks of BLOCK.
    """
    pid = tl.program_id(0).to(tl.int64)
    at = pid * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    inside = at < n
    base = tl.load(base_ptr + at, mask=inside).to(tl.float32)
    z0 = noise(first, begin + pid, SIGNS0, BLOCK, ROUNDS)
    if TERMS == 2:
        z1 = noise(second, begin + pid, SIGNS1, BLOCK, ROUNDS)
    for j in tl.static_range(POINTS):
        value = base + tl.load(coefficients_ptr + j * TERMS) * z0
        if TERMS == 2:
            value = value + tl.load(coefficients_ptr + j * TERMS + 1) * z1
        tl.store(out_ptr + j * n + at, value.to(out_ptr.dtype.element_ty), mask=inside)


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
    signs = [kind == "rademacher" for kind in kinds]
    with torch.cuda.device(base.device) if base.is_cuda else torch.no_grad():
        add_noise[(triton.cdiv(n, BLOCK),)](
            base, out, coefficients, n, 0, seeds[0], seeds[-1],
            POINTS=len(coefficients), TERMS=terms, SIGNS0=signs[0], SIGNS1=signs[-1],
            BLOCK=BLOCK, ROUNDS=rounds, num_warps=WARPS, enable_fp_fusion=True,
        )  # fmt: skip
