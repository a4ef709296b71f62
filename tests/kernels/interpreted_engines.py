"""Engines on Triton's interpreter: run by test_kernels.py in a process of its own, with TRITON_INTERPRET=1."""

import pytest
import torch
from kits.matrix import named
from kits.toy_runs import Adaptive, MeZO, Net, Run, apart, layer, same

from zobench import Estimator, Scope
from zobench.directions.fused import Fused, several
from zobench.kernels import MOST_TERMS


class Small(Net):
    """Two layers: an interpreted pass over a tensor takes some ten milliseconds."""

    sizes = (6, 8, 3)


class Direct(Run):
    """A run whose noise is philox, in float32: drawn by kernels, or, `fused=False`, in torch."""

    net = Small

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


MODES = [
    ("flat", "exact"), ("flat", "arithmetic"), ("deferred", "exact"), ("deferred", "arithmetic"), ("pair", "exact"),
    ("streamed", "exact"),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "restore"), named(MODES, [MODES[i] for i in (0, 3, 4, 5)]))
def test_engines_give_with_kernels_what_they_give_without(monkeypatch, engine, restore):
    """Of float32 weights, of bfloat16 ones, and of these with a master in float32."""
    settings = {"engine": engine, "restore": restore, "batched": True}
    # a bfloat16 loss is a multiple of 0.008, and a slope 4 off where it is one of them off: runs part after a step
    of_bfloat16 = (torch.bfloat16, 1, 1e-3, 0.02)
    for precision, dtype, steps, lr, near in (
        ("native", torch.float32, 2, 1e-2, 2e-5),
        ("native", *of_bfloat16),
        ("float32", *of_bfloat16),
    ):
        given = {"dtype": dtype, "lr": lr, "precision": precision, **settings}
        runs = [Direct(monkeypatch, fused, **given) for fused in (True, False)]
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
    run.go(2)
    assert same(run.weights(), run.start) and run.passes


@pytest.mark.parametrize("engine", named(["flat", "pair", "streamed"], ["pair"]))
def test_state_masks_and_decay_fall_back_tensor_by_tensor(monkeypatch, engine):
    """A method with state is computed in torch; a masked tensor too, beside unmasked ones that kernels take."""

    def half(named):
        masks = {n: torch.arange(p.numel()).view(p.shape) % 2 == 0 for n, p in named if "layers.1" in n}
        return Scope(named, masks=masks)

    kinds = ((Adaptive, None, 0.0, 4, False), (MeZO, half, 0.1, 2, True), (MeZO, layer(1), 0.0, 2, True))
    for method, scope, decay, steps, some in kinds:
        runs = [
            Direct(monkeypatch, fused, method, engine=engine, scope=scope, weight_decay=decay, batched=True)
            for fused in (True, False)
        ]
        losses = [run.go(steps) for run in runs]
        assert losses[0] == pytest.approx(losses[1], abs=2e-5)
        assert apart(runs[0].weights(), runs[1].weights()) < 2e-5
        assert bool(runs[0].passes) == some


def test_replay_is_bit_for_bit(monkeypatch):
    run = Direct(monkeypatch, True, engine="flat")
    run.go(2)
    again = Direct(monkeypatch, True, engine="flat")
    again.opt.replay(run.opt.log)
    assert same(run.weights(), again.weights())


@pytest.mark.parametrize("engine", named(["flat", "deferred", "pair"], ["deferred"]))
def test_a_run_goes_on_from_its_state_bit_for_bit(monkeypatch, engine):
    whole = Direct(monkeypatch, True, engine=engine, batched=True)
    whole.go(1)
    weights, state = whole.weights(), whole.state()
    after = whole.go(1)
    again = Direct(monkeypatch, True, engine=engine, batched=True)
    again.model.load_state_dict(weights)
    again.opt.load_state_dict(state)
    assert again.go(1) == after and same(again.weights(), whole.weights()) and not same(whole.weights(), weights)


class Many(Estimator):
    """Looks along the sum of `count` directions, and moves along it."""

    count: int = 4

    def iterate(self, losses):
        d = sum((self.noise(label=str(i)) for i in range(1, self.count)), start=self.noise(label="first"))
        up, down = losses(1e-3 * d, -1e-3 * d)
        self.descend((up - down) / 2e-3 * d)


NOISES = [("flat", 4, True), ("deferred", 4, True), ("pair", MOST_TERMS, True), ("flat", MOST_TERMS + 1, False)]


@pytest.mark.parametrize(("engine", "count", "some"), named(NOISES, [NOISES[i] for i in (0, 2, 3)]))
def test_more_noises_than_a_pass_takes_are_computed(monkeypatch, engine, count, some):
    runs = [
        Direct(monkeypatch, fused, Many, count=count, engine=engine, restore="exact", batched=True)
        for fused in (True, False)
    ]
    steps = 2 if engine == "deferred" else 1  # it moves as it looks the next time
    assert runs[0].go(steps) == pytest.approx(runs[1].go(steps), abs=5e-5)
    assert apart(runs[0].weights(), runs[1].weights()) < 5e-5
    assert bool(runs[0].passes) == some and not same(runs[0].weights(), runs[0].start)
