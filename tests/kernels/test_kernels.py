"""The kernels: interpreted in a process of their own, compiled for a GPU that is not here, and run on one that is."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
from kits.inner import passed
from kits.matrix import covering, named

from zobench import kernels
from zobench.directions.noise import philox

triton = pytest.importorskip("triton", reason="triton is not installed: no kernels on this machine")
HERE = Path(__file__).parent
INTERPRETED = ("interpreted_noise.py", "interpreted_engines.py")


@pytest.mark.parametrize("which", named(["not slow", "slow"], ["not slow"]))
def test_interpreted(which):
    """Numbers; engines, restore, masks, replay, resumption: see these files."""
    printed = passed(which, ["-p", "no:xdist", *INTERPRETED], HERE, {"TRITON_INTERPRET": "1"})
    assert int(re.search(r"(\d+) passed", printed)[1]) >= (30 if which == "not slow" else 6)


def test_without_a_gpu_nothing_uses_them():
    assert not kernels.usable("cpu")
    assert not kernels.takes(torch.zeros(4))


def compiled(base, out, points, terms, signs=0, capability=90):
    """The kernel compiled ahead of time for an NVIDIA GPU, as a launch on fewer than 2^31 weights compiles it."""
    if kernels.usable("cpu"):
        pytest.skip("interpreted kernels are not compiled")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from zobench.kernels.adding import BLOCK, WARPS, add_noise

    kinds = {"base_ptr": f"*{base}", "out_ptr": f"*{out}", "coefficients_ptr": "*fp32", "n": "i32", "begin": "i32"}
    kinds |= {f"seed{t}": "i64" for t in range(kernels.MOST_TERMS)}
    fixed = {"POINTS": points, "TERMS": terms, "SIGNS": signs, "BLOCK": BLOCK, "ROUNDS": philox.ROUNDS}
    signature = {name: kinds.get(name, "constexpr") for name in add_noise.arg_names}
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


LAUNCHES = [(1, 1, 0, 25), (1, 2, 0, 42), (2, 1, 0, 30), (1, 1, 1, 16), (1, 8, 0, 140), (8, 8, 0, 210)]


@pytest.mark.parametrize(
    ("points", "terms", "signs", "most"),
    named(LAUNCHES, [LAUNCHES[i] for i in (0, 2, 3)]),
    ids=["one noise", "two noises", "pair", "signs", "eight noises", "eight points of eight noises"],
)
def test_instructions_a_weight(points, terms, signs, most, tmp_path):
    """Compiled for sm_90: what decides whether a pass is bound by memory or by arithmetic.

    `most` is for triton 3.9; 3.7 makes one instruction more of the signs.
    """
    from zobench.kernels.adding import BLOCK, WARPS

    if signs and tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9):
        most += 1
    kernel = compiled("fp16", "fp16", points, terms, signs)
    found = instructions(kernel.asm["cubin"], tmp_path)
    each = len(found) / (BLOCK / (32 * WARPS))
    assert 5 < each <= most, f"{each:.1f} instructions a weight"
    assert sum(one.startswith("IMAD.WIDE") for one in found) > 0 or signs
    assert not any(one.startswith(("LDL", "STL")) for one in found), "no slow path, no spilt registers"


@pytest.mark.parametrize(
    ("kinds", "capability"), covering(["fp32 fp32", "bf16 bf16", "fp32 bf16", "fp32 fp16"], [80, 90])
)
def test_compiled_arithmetic_is_float32_rounded_to_nearest(kinds, capability):
    base, out = kinds.split()
    ptx = compiled(base, out, 2, 2, 2, capability).asm["ptx"]
    assert set(re.findall(r"(?:mul|add|fma)\S*?\.(f16|bf16|f32|f64)", ptx)) == {"f32"}
    stored = set(re.findall(r"cvt\.(\w+)\.(?:bf16|f16)(?:x2)?\.f32", ptx))
    assert stored == ({"rn"} if out != "fp32" else set())


def test_offsets_of_points_are_not_of_32_bits():
    """Five points of 622 M weights, an embedding of Qwen3-8B, are more entries than an int32 counts."""
    code = compiled("fp16", "fp16", 5, 1).asm["ttir"]
    assert "%n" in code and not re.search(r"muli .*%n\b.* : i32", code)


def test_seeds_compile_no_new_kernels():
    from zobench.kernels.adding import add_noise

    if kernels.usable("cpu"):
        pytest.skip("interpreted kernels are not compiled")
    fixed = {p.name for p in add_noise.params if p.do_not_specialize}
    assert fixed == {"begin", *(f"seed{t}" for t in range(kernels.MOST_TERMS))}


def test_a_triton_that_is_too_old_is_not_used(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setattr(kernels, "_fault", lambda kind: None)  # as where a kernel was compiled and run
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    why_not = kernels.why_not.__wrapped__
    assert why_not("cuda") is None and why_not("cpu") == "there are no kernels for cpu"
    monkeypatch.setattr(triton, "__version__", "3.3.0")
    assert why_not("cuda") is None
    monkeypatch.setattr(triton, "__version__", "3.2.0")
    assert why_not("cuda") == "triton 3.2.0 is older than 3.3"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_not("cuda") == "torch sees no GPU", "and triton is not imported to say so"


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


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["flat", "deferred", "pair", "streamed"])
def test_engines_on_a_gpu(engine, monkeypatch):
    """Kernels give what torch gives, wait for nothing, and are compiled once for all seeds."""
    from kits.toy_runs import Run, apart

    from zobench.kernels.adding import add_noise

    class OnGPU(Run):
        def __init__(self, **kw):
            super().__init__(dtype=torch.float32, noise="philox", engine=engine, batched=True, **kw)
            self.model.cuda()

        def batch(self, step):
            return tuple(x.cuda() for x in super().batch(step))

    def count():
        return sum(len(cache[0]) for cache in add_noise.device_caches.values())

    runs = [OnGPU(), OnGPU()]
    losses = [runs[0].go(3)]
    compiled_so_far = count()
    losses[0] += runs[0].go(3)
    assert count() == compiled_so_far > 0
    monkeypatch.setattr(kernels, "usable", lambda kind: False)
    losses.append(runs[1].go(6))
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert apart(runs[0].weights(), runs[1].weights()) < 1e-3


@pytest.mark.gpu
def test_a_pass_waits_for_nothing():
    from zobench.directions.fused import _on_device

    w, g = torch.zeros(1000, device="cuda"), torch.ones((), dtype=torch.float64, device="cuda")
    from zobench.kernels.adding import add

    def once(seed):
        coefficients = _on_device([[1e-3, -1e-6 * g]], w.device)
        add(w, w[None], [seed, seed + 1], ["gaussian"] * 2, coefficients, philox.ROUNDS)

    once(2**40)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        once(2**41)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(w.abs().max()) > 0
