"""The dangers of laziness: each was silent, and only on some engines, before it had its guard."""

import pytest
import torch
from kits.toy_runs import MODES, MeZO, Run, apart

from zobench import Estimator


class LoopPredicate(Estimator):
    """A predicate that closes over a loop variable."""

    def iterate(self, losses):
        for b in range(3):
            z = self.noise(on=lambda p: f"layers.{b}." in p.name)  # noqa: B023 - that is the point
            self.descend(losses.slope(z, 1e-3) * z)


class LoopClosure(Estimator):
    """A mapped function that closes over a loop variable."""

    def iterate(self, losses):
        ds, ls, l0 = [], [], losses.base()
        for k in (1.0, 2.0, 3.0):
            ds.append(self.noise().map(lambda x: x * k))  # noqa: B023 - that is the point
            ls += losses(1e-3 * ds[-1])
        self.descend(sum((a - l0) / 1e-3 * d for a, d in zip(ls, ds, strict=True)))


class ReadsWeights(Estimator):
    """p.data read while the weights stand displaced."""

    def setup(self):
        self.n = self.buffer("n", shape=lambda p: ())

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z, 1e-3)
        for p in self.active:
            self.n[p] = p.data.norm()
        self.descend(c * self.n * z)


class InitReads(Estimator):
    """A buffer whose init reads the weights, first met inside an expression after a look."""

    def setup(self):
        self.s = self.buffer("s", init=lambda p: p.data.abs() + 0.1)

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z, 1e-3)
        self.descend(c * (self.s * z))


class Accept(Estimator):
    """Branches on losses; looks again from the moved point."""

    def iterate(self, losses):
        z = self.noise()
        l0 = losses.base()
        go = self.descent(losses.slope(z, 1e-3) * z)
        self.move(go)
        if losses.base() > l0:
            self.move(-go)


class AssignsBetween(Estimator):
    """A buffer assigned while a displacement made of it stands: engines settle first."""

    def setup(self):
        self.h = self.buffer("h", init=1.0)

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z / self.h, 1e-3)
        self.h.assign(self.h + 0.1 * z.square())
        self.descend(c * (z / self.h))


class LooksAgain(Estimator):
    """The same expression twice, of a buffer that is assigned between the looks."""

    def setup(self):
        self.h = self.buffer("h", init=1.0)

    def iterate(self, losses):
        d = 1e-1 * (self.noise() * self.h)
        (before,) = losses(d)
        self.h.assign(3.0 * self.h)
        (after,) = losses(d)
        self.h.assign(1.0 / 3.0 * self.h)
        self.descend((after - before) * self.noise())


METHODS = [LoopPredicate, LoopClosure, ReadsWeights, InitReads, Accept, AssignsBetween, LooksAgain]


@pytest.mark.parametrize("method", METHODS)
def test_engines_agree(method):
    weights = []
    for engine, restore in MODES:
        run = Run(method, engine=engine, restore=restore, lr=1e-3)
        run.go(7)
        weights.append(run.weights())
    assert max(apart(weights[0], w) for w in weights) < 1e-12
    assert apart(weights[0], run.start) > 1e-4


class ChangesInPlace(Estimator):
    """The natural mistake: a buffer changed in place while the weights stand on it."""

    how = "in place"

    def setup(self):
        self.h = self.buffer("h", init=1.0)

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z / self.h, 1e-3)
        if self.how == "settled":
            self.settle()
        for p in self.active:
            if self.how == "replaced":
                self.h[p] = self.h[p] * 1.01
            else:
                self.h[p].mul_(1.01)
        self.descend(c * (z / self.h))


@pytest.mark.parametrize(("engine", "restore"), MODES)
@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_buffer_changed_under_a_displacement_raises_on_every_engine(engine, restore, how, monkeypatch):
    monkeypatch.setattr(ChangesInPlace, "how", how)
    run = Run(ChangesInPlace, engine=engine, restore=restore)
    if engine.startswith("official"):  # it settles after every call, so nothing stands displaced
        run.go(1)
        return
    with pytest.raises(RuntimeError, match=r"buffer 'h' was changed in place for layers.0.weight .* h.assign\(...\)"):
        run.go(1)
    if run.opt.engine.restore == "exact":
        assert apart({n: p.detach() for n, p in run.model.named_parameters()}, run.start) == 0


def test_settling_before_the_change_is_the_remedy(monkeypatch):
    monkeypatch.setattr(ChangesInPlace, "how", "settled")
    weights = []
    for engine, restore in MODES:
        run = Run(ChangesInPlace, engine=engine, restore=restore)
        run.go(3)
        weights.append(run.weights())
    assert max(apart(weights[0], w) for w in weights) < 1e-12


def test_weights_read_between_steps_are_theta():
    """A deferring engine leaves the parameters displaced; a handle's data are theta all the same."""
    flat, deferred = Run(engine="flat"), Run(engine="deferred")
    flat.go(3), deferred.go(3)
    raw = deferred.opt.handles[0].raw.clone()
    assert apart({"w": raw}, {"w": flat.opt.handles[0].data}) > 1e-5
    assert apart({"w": deferred.opt.handles[0].data}, {"w": flat.opt.handles[0].data}) < 1e-15


def test_a_method_may_read_weights_in_its_setup():
    class Reads(MeZO):
        def setup(self):
            self.anchor = self.buffer("anchor", init=lambda p: p.data.clone())
            for p in self.handles:
                assert torch.equal(self.anchor[p], p.raw)

    Run(Reads).go(2)
