"""Scopes: masks, schedules, and that nothing outside moves, bit for bit."""

import math

import pytest
import torch
from kits.toy_runs import MODES, Adaptive, MeZO, Run, apart, layer, same

from zobench import Scope, ZobenchError

FULL = [(e, r, p) for e, r in MODES for p in ("native", "float32") if p == "native" or "official" not in e]


def random_masks(named):
    g = torch.Generator().manual_seed(5)
    return {n: torch.rand(p.shape, generator=g) < 0.3 for n, p in named}


def bits(t):
    return t.contiguous().view(torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("method", [MeZO, Adaptive])
@pytest.mark.parametrize(("engine", "restore", "precision"), FULL)
def test_masked_entries_keep_every_bit(method, engine, restore, precision, dtype):
    def scope(named):
        with torch.no_grad():
            named[0][1][0, :] = -0.0  # the sign of zero is a bit too
        return Scope(named[:4], masks=random_masks(named[:4]))

    run = Run(
        method,
        dtype=dtype,
        engine=engine,
        restore=restore,
        precision=precision,
        scope=scope,
        lr=0.5,
        eps=0.1,
        weight_decay=0.1,
    )
    with torch.no_grad():
        run.start["layers.0.weight"][0, :] = -0.0
    run.go(4)
    w = run.weights()
    for n, mask in random_masks([(n, p) for n, p in run.start.items()][:4]).items():
        assert torch.equal(bits(w[n][~mask]), bits(run.start[n][~mask])), n
        assert not torch.equal(w[n][mask], run.start[n][mask]), n
    assert torch.equal(bits(w["layers.2.weight"]), bits(run.start["layers.2.weight"]))


def test_masks_are_seen_during_the_looks():
    seen = []
    run = Run(scope=lambda named: Scope(named, masks=random_masks(named)))
    masks = random_masks(list(run.start.items()))

    def closure():
        seen.append({n: p.detach().clone() for n, p in run.model.named_parameters()})
        return torch.tensor(float(len(seen)))

    run.opt.step(closure)
    for w in seen:
        for n, m in masks.items():
            assert torch.equal(w[n] != run.start[n], m)


def test_masks_agree_over_engines():
    weights = []
    for engine, restore in MODES:
        run = Run(Adaptive, engine=engine, restore=restore, scope=lambda n: Scope(n, masks=random_masks(n)))
        run.go(6)
        weights.append(run.weights())
    assert max(apart(weights[0], w) for w in weights) < 1e-12


def test_each_shows_zero_where_masked():
    run = Run(scope=lambda named: Scope(named, masks=random_masks(named)))
    for p, z in run.opt.each(run.opt.noise()):
        assert torch.equal(z != 0, p.mask)


class Alternating(Scope):
    """Layer 0 in even pairs of steps, layer 1 in odd ones; layer 2 always."""

    def active(self, step):
        on = (step // 2) % 2
        return lambda name: f"layers.{on}." in name or "layers.2." in name


class MovingMask(Scope):
    def mask(self, p, step):
        m = torch.zeros(p.shape, dtype=torch.bool)
        m.view(-1)[step % p.param.numel()] = True
        return m


@pytest.mark.parametrize("method", [MeZO, Adaptive])
def test_schedules_agree_over_engines_and_replay(method):
    for schedule in (Alternating, MovingMask):
        weights = []
        for engine, restore in MODES:
            run = Run(method, engine=engine, restore=restore, scope=schedule)
            run.go(7)
            weights.append(run.weights())
            again = Run(method, engine=engine, restore=restore, scope=schedule)
            again.opt.replay(run.opt.log)
            assert same(again.weights(), weights[-1]), (schedule, engine)
        assert max(apart(weights[0], w) for w in weights) < 1e-12


def test_a_schedule_moves_what_it_says():
    run = Run(engine="deferred", scope=Alternating)
    for step in range(6):
        before = run.weights()
        run.go(1)
        moved = {n[7] for n, w in run.weights().items() if not torch.equal(w, before[n])}
        assert moved == {str((step // 2) % 2), "2"}


def test_an_empty_step_of_a_schedule_is_refused():
    class Never(Scope):
        def active(self, step):
            return lambda name: step == 0

    run = Run(scope=Never)
    run.go(1)
    with pytest.raises(ZobenchError, match="step 1: the scope's schedule leaves none"):
        run.go(1)


def test_facts():
    run = Run(scope=layer(1))
    assert run.opt.scope.numel() == 72 and run.opt.scope.layers == (1,)
    named = list(run.model.named_parameters())
    mask = torch.zeros(8, 6)
    mask[0] = 1
    assert Scope(named, masks={"layers.0.weight": mask}).numel() == sum(p.numel() for _, p in named) - 42
    assert "6 tensors" in repr(Scope(named)) and math.prod(named[0][1].shape) == 48


def test_faults():
    named = list(Run().model.named_parameters())
    for build, says in (
        (lambda: Scope([]), "the scope is empty"),
        (lambda: Scope([named[0], named[0]]), "two parameters are named 'layers.0.weight'"),
        (lambda: Scope(named, masks={"x": torch.ones(1)}), "mask for 'x', which is not in the scope"),
        (lambda: Scope(named, masks={"layers.0.bias": torch.ones(3)}), r"has shape \(3,\), the parameter \(8,\)"),
        (lambda: Scope(named, masks={"layers.0.bias": torch.full((8,), 0.5)}), "entries other than 0 and 1"),
    ):
        with pytest.raises(ZobenchError, match=says):
            build()
