"""The kernels: interpreted in a process of their own, compiled for a GPU that is not here, and run on one that is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zobench import kernels
from zobench.zo import philox

triton = pytest.importorskip("triton", reason="triton is not installed: no kernels on this machine")
HERE = Path(__file__).parent


def test_interpreted():
    """Numbers, engines, restore, masks, replay: see interpreted.py."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "interpreted.py"]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 30


def test_without_a_gpu_nothing_uses_them():
    assert not kernels.usable("cpu")
    assert not kernels.takes(torch.zeros(4))


def compiled(dtype, points, terms, signs, capability=90):
    """The kernel compiled ahead of time for an NVIDIA GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from zobench.kernels.adding import BLOCK, WARPS, add_noise

    kinds = {"base_ptr": f"*{dtype}", "out_ptr": f"*{dtype}", "coefficients_ptr": "*fp32"}
    whole = {"n": "i64", "begin": "i64", "first": "i64", "second": "i64"}
    fixed = {"POINTS": points, "TERMS": terms, "SIGNS0": signs, "SIGNS1": signs, "BLOCK": BLOCK,
             "ROUNDS": philox.ROUNDS}  # fmt: skip
    signature = {name: {**kinds, **whole}.get(name, "constexpr") for name in add_noise.arg_names}
    aligned = {(add_noise.arg_names.index(name),): [["tt.divisibility", 16]] for name in ("base_ptr", "out_ptr", "n")}
    source = ASTSource(fn=add_noise, signature=signature, constexprs=fixed, attrs=aligned)
    return triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS, "enable_fp_fusion": True}
    )


def instructions(binary, tmp_path):
    """SASS instructions of a kernel, NOPs left out, by triton's own disassembler."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    if not tool.exists():
        pytest.skip(f"triton {triton.__version__} comes without nvdisasm here")
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(binary)
    text = subprocess.run([tool, "-c", cubin], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)", text, re.M)
    return [one for one in found if not one.startswith("NOP")]


@pytest.mark.parametrize(
    ("points", "terms", "signs", "most"),
    [(1, 1, False, 25), (1, 2, False, 42), (2, 1, False, 30), (1, 1, True, 16)],
    ids=["one noise", "two noises", "pair", "signs"],
)
def test_instructions_a_weight(points, terms, signs, most, tmp_path):
    """Compiled for sm_90: what decides whether a pass is bound by memory or by arithmetic."""
    from zobench.kernels.adding import BLOCK, WARPS

    if kernels.usable("cpu"):
        pytest.skip("interpreted kernels are not compiled")
    kernel = compiled("fp16", points, terms, signs)
    found = instructions(kernel.asm["cubin"], tmp_path)
    each = len(found) / (BLOCK / (32 * WARPS))
    assert 5 < each <= most, f"{each:.1f} instructions a weight"
    assert sum(one.startswith("IMAD.WIDE") for one in found) > 0 or signs
    assert not any(one.startswith(("LDL", "STL")) for one in found), "no slow path through local memory"


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_on_a_gpu(kind, dtype):
    from zobench.kernels.adding import add

    n, device = 100_003, torch.device("cuda")
    w = torch.randn(n, device=device).mul_(0.02).to(dtype)
    z = (philox.normals if kind == "gaussian" else philox.signs)(2**61 + 5, n, device)
    out = torch.empty(2, n, dtype=dtype, device=device)
    add(w, out, [2**61 + 5], [kind], torch.tensor([[0.5], [-0.5]], device=device), philox.ROUNDS)
    for got, c in zip(out, (0.5, -0.5), strict=True):
        want = w.float() + c * z
        near = torch.finfo(dtype).eps * want.abs().clamp(min=1e-2) + 1e-4  # fast log, sin and cos
        assert ((got.float() - want).abs() <= near).all()
