"""Noise and sums by Triton's interpreter: run by test_kernels.py in a process of its own, with TRITON_INTERPRET=1."""

import pytest
import torch
import triton
import triton.language as tl

from zobench.directions.noise import philox
from zobench.kernels import MOST_TERMS, adding, drawn_by, takes, usable
from zobench.kernels import philox as kernel_philox

CPU = torch.device("cpu")
SEED = 0x1234567_89ABCDEF
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDING = 4e-6  # of log, sin and cos in float32, at a normal of about 5


def added(base, seeds, kinds, coefficients, points=1, begin=0, block=256):
    out = torch.empty(points, *base.shape, dtype=base.dtype)
    n, table = base.numel(), torch.tensor(coefficients, dtype=torch.float32).view(points, -1)
    signs = sum(1 << t for t, kind in enumerate(kinds) if kind == "rademacher")
    adding.add_noise[(-(-n // block),)](
        base, out, table, n, begin, *seeds, *[0] * (MOST_TERMS - len(seeds)), POINTS=points, TERMS=len(seeds),
        SIGNS=signs, BLOCK=block, ROUNDS=philox.ROUNDS,
    )  # fmt: skip
    return out


def z(kind, n, **where):
    return added(torch.zeros(n), [SEED], [kind], [1.0], **where)[0]


def test_kernels_are_what_runs_here():
    assert usable("cpu") and not usable("cuda")
    assert drawn_by("cpu") == "triton" and drawn_by("cuda") == "torch"
    assert takes(torch.zeros(3)) and not takes(torch.zeros(3).double()) and not takes(torch.zeros(4, 3).T)


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_noise_is_that_of_the_torch_form(kind):
    want = (philox.normals if kind == "gaussian" else philox.signs)(SEED, 1003, CPU)
    assert (z(kind, 1003) - want).abs().max() < ROUNDING


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_noise_does_not_depend_on_blocks_or_where_a_launch_begins(kind):
    whole = z(kind, 600, block=1024)
    assert torch.equal(whole, z(kind, 600, block=128)) and torch.equal(whole, z(kind, 600, block=256))
    assert torch.equal(whole[256:], z(kind, 344, block=256, begin=1))
    far = (1 << 34) + 4096  # counters of more than 32 bits
    want = (philox.normals if kind == "gaussian" else philox.signs)(SEED, 256, CPU, begin=far)
    assert (z(kind, 256, block=256, begin=far // 256) - want).abs().max() < ROUNDING


def test_a_logarithm_that_is_off_makes_no_nan(monkeypatch):
    """A GPU's fast one is off by 2^-22 near 1, to either side of 0; here by so much that some of 4000 are."""

    @triton.jit
    def off(x):
        return tl.log(x) + 0.01

    monkeypatch.setattr(kernel_philox, "_log", off)
    got, want = z("gaussian", 4000, block=1024), philox.normals(SEED, 4000, CPU)
    assert got.isfinite().all() and 0.01 < (got - want).abs().max() < 0.15


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 255, 700])
def test_a_pass_adds_in_float32_and_rounds_once(dtype, n):
    w = (0.02 * torch.randn(n, generator=torch.Generator().manual_seed(0))).to(dtype)
    one, two = philox.normals(11, n, CPU), philox.signs(2**62 + 7, n, CPU)
    before = w.clone()
    out = added(w, [11, 2**62 + 7], ["gaussian", "rademacher"], [0.5, -0.25, -0.5, 0.0], points=2)
    for got, c, d in zip(out, (0.5, -0.5), (-0.25, 0.0), strict=True):
        want = w.float() + c * one + d * two
        ulp = torch.finfo(dtype).eps * want.abs().clamp(min=1e-2)
        assert ((got.float() - want).abs() <= ulp + ROUNDING).all()
    assert torch.equal(w, before), "the base is left alone"
    in_place = w.clone()  # also by add, whose blocks are longer
    adding.add(in_place, in_place[None], [11], ["gaussian"], torch.tensor([[0.5]]), philox.ROUNDS)
    assert torch.equal(in_place, added(w, [11], ["gaussian"], [0.5])[0])


@pytest.mark.parametrize("terms", [3, MOST_TERMS])
def test_a_pass_adds_as_many_noises_as_it_takes(terms):
    """For two points at once, normals and signs by turns; a point without a noise has a coefficient of 0 for it."""
    n, seeds = 300, [2**40 + 3 * t for t in range(terms)]
    kinds = ["gaussian" if t % 3 else "rademacher" for t in range(terms)]
    z = torch.stack(
        [(philox.signs if kinds[t] == "rademacher" else philox.normals)(seeds[t], n, CPU) for t in range(terms)]
    )
    table = torch.linspace(-1, 1, 2 * terms).view(2, terms)
    table[1, 1] = 0
    w = torch.linspace(-1, 1, n)
    out = torch.empty(2, n)
    adding.add(w, out, seeds, kinds, table, philox.ROUNDS)
    assert (out - (w + table @ z)).abs().max() < terms * ROUNDING


def test_a_master_in_float32_gives_narrower_weights_with_one_rounding():
    master, n = torch.linspace(-1, 1, 300), 300
    out = added(master, [SEED], ["gaussian"], [1e-3], block=128)
    assert torch.equal(out[0], master + 1e-3 * z("gaussian", n))
    narrow = torch.empty(1, n, dtype=torch.float16)  # (the interpreter cuts bfloat16 off; compiled code rounds it)
    adding.add(master, narrow, [SEED], ["gaussian"], torch.tensor([[1e-3]]), philox.ROUNDS)
    assert torch.equal(narrow, out.half())


def test_a_pass_of_two_noises_is_two_passes_up_to_one_rounding():
    w = (0.02 * torch.randn(700, generator=torch.Generator().manual_seed(0))).half()
    first, second = [SEED], [7]
    at_once = added(w, first + second, ["gaussian"] * 2, [2e-2, -1e-2])[0]
    one_by_one = added(added(w, first, ["gaussian"], [2e-2])[0], second, ["gaussian"], [-1e-2])[0]
    near = torch.finfo(torch.float16).eps * torch.maximum(at_once.float().abs(), one_by_one.float().abs()).clamp(
        min=0.1
    )
    assert ((at_once.float() - one_by_one.float()).abs() <= near).all()
    assert not torch.equal(at_once, w)


def test_empty_tensors_and_too_many_noises():
    empty = torch.empty(0, 4)
    adding.add(empty, empty[None], [1], ["gaussian"], torch.ones(1, 1), philox.ROUNDS)
    w = torch.zeros(8)
    with pytest.raises(ValueError, match="9 noises in a pass: 1 to 8"):
        adding.add(w, w[None], list(range(9)), ["gaussian"] * 9, torch.ones(1, 9), 7)
