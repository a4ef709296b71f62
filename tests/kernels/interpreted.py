"""The kernels by Triton's interpreter: run by test_kernels.py in a process of its own, with TRITON_INTERPRET=1."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "zo"))

from zo_kit import Adaptive, MeZO, Net, Run, apart, layer, same  # noqa: E402

from zobench import Estimator, Scope  # noqa: E402
from zobench.kernels import adding, takes, usable  # noqa: E402
from zobench.zo import philox  # noqa: E402
from zobench.zo.fused import Fused, several  # noqa: E402

CPU = torch.device("cpu")
SEED = 0x1234567_89ABCDEF
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDING = 4e-6  # of log, sin and cos in float32, at a normal of about 5


def added(base, seeds, kinds, coefficients, points=1, begin=0, block=256):
    out = torch.empty(points, *base.shape, dtype=base.dtype)
    n, table = base.numel(), torch.tensor(coefficients, dtype=torch.float32).view(points, -1)
    signs = [kind == "rademacher" for kind in kinds]
    adding.add_noise[(-(-n // block),)](
        base, out, table, n, begin, seeds[0], seeds[-1], POINTS=points, TERMS=len(seeds), SIGNS0=signs[0],
        SIGNS1=signs[-1], BLOCK=block, ROUNDS=philox.ROUNDS,
    )  # fmt: skip
    return out


def z(kind, n, **where):
    return added(torch.zeros(n), [SEED], [kind], [1.0], **where)[0]


def test_kernels_are_what_runs_here():
    assert usable("cpu") and not usable("cuda")
    assert takes(torch.zeros(3)) and not takes(torch.zeros(3).double()) and not takes(torch.zeros(4, 3).T)


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_noise_is_that_of_the_torch_form(kind):
    want = (philox.normals if kind == "gaussian" else philox.signs)(SEED, 1003, CPU)
    assert (z(kind, 1003) - want).abs().max() < ROUNDING


@pytest.mark.parametrize("kind", ["gaussian", "rademacher"])
def test_noise_does_not_depend_on_blocks_or_where_a_launch_begins(kind):
    whole = z(kind, 1500, block=1024)
    assert torch.equal(whole, z(kind, 1500, block=128)) and torch.equal(whole, z(kind, 1500, block=256))
    assert torch.equal(whole[512:], z(kind, 988, block=256, begin=2))
    far = (1 << 34) + 4096  # counters of more than 32 bits
    want = (philox.normals if kind == "gaussian" else philox.signs)(SEED, 256, CPU, begin=far)
    assert (z(kind, 256, block=256, begin=far // 256) - want).abs().max() < ROUNDING


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
    in_place = w.clone()
    adding.add(in_place, in_place[None], [11], ["gaussian"], torch.tensor([[0.5]]), philox.ROUNDS)
    assert torch.equal(in_place, added(w, [11], ["gaussian"], [0.5])[0])


def test_more_noises_than_a_pass_takes_are_refused():
    w = torch.zeros(8)
    with pytest.raises(ValueError, match="3 noises in a pass: 1 to 2"):
        adding.add(w, w[None], [1, 2, 3], ["gaussian"] * 3, torch.ones(1, 3), 7)


# ---- engines


class Direct(Run):
    """A run whose noise is philox, in float32: drawn by kernels, or, `fused=False`, in torch."""

    def __init__(self, monkeypatch, fused, method=MeZO, **kw):
        super().__init__(method, noise="philox", dtype=kw.pop("dtype", torch.float32), **kw)
        self.fused, self.patch, self.passes = fused, monkeypatch, []

    def go(self, steps):
        with self.patch.context() as patch:
            if self.fused:
                patch.setattr(Fused, "onto", self.counting(Fused.onto))
                patch.setattr("zobench.engine.pair.several", self.counting(several))
            else:
                patch.setattr("zobench.kernels.usable", lambda kind: False)
            return super().go(steps)

    def counting(self, function):
        def counted(*args):
            self.passes.append(args)
            return function(*args)

        return counted


@pytest.mark.parametrize("precision", ["native", "float32"])
@pytest.mark.parametrize(
    ("engine", "restore"),
    [("flat", "exact"), ("flat", "arithmetic"), ("deferred", "exact"), ("deferred", "arithmetic"), ("pair", "exact"),
     ("streamed", "exact")],
)  # fmt: skip
def test_engines_give_with_kernels_what_they_give_without(monkeypatch, engine, restore, precision):
    settings = {"engine": engine, "restore": restore, "precision": precision, "batched": True}
    # a bfloat16 loss is a multiple of 0.008, and a slope 4 off where it is one of them off: runs part after a step
    for dtype, steps, lr, near in ((torch.float32, 3, 1e-2, 2e-5), (torch.bfloat16, 1, 1e-3, 0.02)):
        runs = [Direct(monkeypatch, fused, dtype=dtype, lr=lr, **settings) for fused in (True, False)]
        losses = [run.go(steps) for run in runs]
        assert losses[0] == pytest.approx(losses[1], abs=near)
        assert apart(runs[0].weights(), runs[1].weights()) < near
        assert runs[0].passes and not runs[1].passes
        assert dtype != torch.float32 or not same(runs[0].weights(), runs[0].start)


@pytest.mark.parametrize("engine", ["flat", "pair", "streamed"])
def test_a_restore_is_exact(monkeypatch, engine):
    class Looks(Estimator):
        def iterate(self, losses):
            z = self.noise()
            losses(1e-3 * z, 0, -1e-3 * z + 0.1 * self.noise("rademacher"))

    run = Direct(monkeypatch, True, Looks, engine=engine, dtype=torch.bfloat16, batched=True)
    run.go(10)
    assert same(run.weights(), run.start) and run.passes


@pytest.mark.parametrize("engine", ["flat", "pair", "streamed"])
def test_state_masks_and_decay_fall_back_tensor_by_tensor(monkeypatch, engine):
    """A method with state is computed in torch; a masked tensor too, beside unmasked ones that kernels take."""

    def half(named):
        masks = {n: torch.arange(p.numel()).view(p.shape) % 2 == 0 for n, p in named if "layers.1" in n}
        return Scope(named, masks=masks)

    kinds = ((Adaptive, None, 0.0, False), (MeZO, half, 0.1, True), (MeZO, layer(1), 0.0, True))
    for method, scope, decay, some in kinds:
        runs = [
            Direct(monkeypatch, fused, method, engine=engine, scope=scope, weight_decay=decay, batched=True)
            for fused in (True, False)
        ]
        losses = [run.go(4) for run in runs]
        assert losses[0] == pytest.approx(losses[1], abs=2e-5)
        assert apart(runs[0].weights(), runs[1].weights()) < 2e-5
        assert bool(runs[0].passes) == some


def test_replay_is_bit_for_bit(monkeypatch):
    run = Direct(monkeypatch, True, engine="flat")
    run.go(5)
    again = Direct(monkeypatch, True, engine="flat")
    again.opt.replay(run.opt.log)
    assert same(run.weights(), again.weights())


def test_more_than_two_noises_are_computed(monkeypatch):
    class Three(Estimator):
        def iterate(self, losses):
            d = sum((self.noise(label=str(i)) for i in range(3)), start=self.noise(label="first"))
            up, down = losses(1e-3 * d, -1e-3 * d)
            self.descend((up - down) / 2e-3 * d)

    runs = [Direct(monkeypatch, fused, Three, engine="pair", batched=True) for fused in (True, False)]
    assert runs[0].go(3) == pytest.approx(runs[1].go(3), abs=2e-5)
    assert apart(runs[0].weights(), runs[1].weights()) < 2e-5 and isinstance(runs[0].model, Net)
