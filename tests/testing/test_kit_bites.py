"""A wrong estimator fails the check that is there for it, and the report says so."""

from __future__ import annotations

import random
from typing import ClassVar

import pytest
import torch
from zobench_plugins.estimators.lozo import LOZO
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.sparse_mezo import SparseMeZO

from zobench import Estimator, matrices, vectors
from zobench.testing import Moments, check_estimator, gaussian
from zobench.testing.attempt import Case
from zobench.testing.checks import CHECKS
from zobench.testing.expect import Failed, NotApplicable
from zobench.testing.memory import check_memory
from zobench.testing.moments import check_moments


def outcome(check, cls, engine="flat", **settings):
    """What one check says of one class: "pass", "n/a", or the text of its failure."""
    case = Case(cls, {**getattr(cls, "exercise", {}), **settings}, engine, "mlp")
    try:
        CHECKS[check](case)
    except Failed as e:
        return str(e)
    except NotApplicable:
        return "n/a"
    return "pass"


class RefreshBug(LOZO):
    """U and z are drawn again for the move: LOZO's released refresh step, at every step."""

    def iterate(self, losses):
        v, (u, z) = self.held(), self.drawn()
        c = losses.slope(u @ v.T + z, self.eps)
        u, z = self.drawn()
        self.descend(c * (u @ v.T + z))


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_v1_another_direction_in_the_move(engine):
    assert outcome("V1 replay", LOZO, engine) == "pass"
    assert "did not look along" in outcome("V1 replay", RefreshBug, engine)
    assert "step 0 moved" in outcome("V1 replay", LOZO, engine, refresh="as_released")


class NoRestore(MeZO):
    """Writes the displacement into the weights by hand and never takes it back."""

    def iterate(self, losses):
        z = self.noise()
        for p, d in self.each(z):
            p.raw.add_(d, alpha=self.eps)
        up = losses.base()
        self.descend((up - losses.base()) / self.eps * z)
        return up


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_v2_weights_not_restored(engine):
    assert outcome("V2 restore", MeZO, engine) == "pass"
    assert outcome("V2 restore", NoRestore, engine) != "pass"


class Trespass(MeZO):
    """Moves whatever the model has, not its scope."""

    def iterate(self, losses):
        out = super().iterate(losses)
        for p in losses._objective.model.parameters():
            p.data.mul_(1.001)
        return out


def test_v3_outside_the_scope():
    assert "outside the scope changed: layers.0" in outcome("V3 frozen", Trespass)
    assert "outside the mask" in outcome("V3 masks", Trespass)


class Still(MeZO):
    def iterate(self, losses):
        return losses.base()


def test_v3_nothing_moves():
    assert outcome("V3 frozen", Still) == "nothing in the scope moved"


class HalfStep(MeZO):
    """c twice too large."""

    def iterate(self, losses):
        z = self.noise()
        lp, lm = losses(+self.eps * z, -self.eps * z)
        self.descend((lp - lm) / self.eps * z)
        return lp


class Uphill(MeZO):
    def iterate(self, losses):
        z = self.noise()
        self.descend(-losses.slope(z, self.eps) * z)


def test_v4_moments():
    assert "se" in check_moments(MeZO, {}, gaussian)
    with pytest.raises(Failed, match=r"E\[g\] is (1\.9|2\.0)\d* times"):
        check_moments(HalfStep, {}, gaussian)
    with pytest.raises(Failed, match="closed form"):
        check_moments(MeZO, {}, lambda q, s: Moments(q.gradient(), 98 * float(q.gradient().square().sum())))
    with pytest.raises(Failed, match="does not go downhill"):
        check_moments(Uphill, {}, None)


class Third(MeZO):
    """Declares MeZO's two forwards and makes a third."""

    def iterate(self, losses):
        losses.base()
        return super().iterate(losses)


class Hidden(MeZO):
    """Evaluates behind the counter."""

    def iterate(self, losses):
        losses._objective()
        return super().iterate(losses)


def test_v5_forwards():
    assert outcome("V5 forwards", MeZO) == "pass"
    assert outcome("V5 forwards", Third) == "3 forwards a step, forwards_per_step says 2"
    assert outcome("V5 forwards", Hidden).startswith("6 forwards were made, {'train': 4")


class Undeclared(MeZO):
    def setup(self):
        self.m = self.buffer("m")

    def iterate(self, losses):
        z = self.noise()
        self.m.assign(0.9 * self.m + losses.slope(z, self.eps) * z)
        self.descend(self.m)


class Growing(MeZO):
    def iterate(self, losses):
        self.buffer(f"m{self.t}").assign(1.0 * self.noise())
        return super().iterate(losses)


def test_v6_state():
    assert "state_per_parameter declares 0" in outcome("V6 state", Undeclared)
    assert "state grew" in outcome("V6 state", Growing)


class KeepsTheDirection(MeZO):
    """Holds a step's whole direction, which nobody declared."""

    def iterate(self, losses):
        z = self.freeze(self.noise())
        self.descend(losses.slope(z, self.eps) * z)


class KeepsTheWeights(MeZO):
    """Holds a copy of the scope from its first step on, outside of any buffer."""

    def iterate(self, losses):
        if not hasattr(self, "first"):
            self.first = [p.data.clone() for p in self.active]
        return super().iterate(losses)


def test_v6_memory():
    assert check_memory(MeZO, {}).endswith("single tensors beyond the declared state")
    held = int(check_memory(MeZO, {}).split()[0])
    assert held <= 6, "a draw or two, not a share of the scope"
    for cls in (KeepsTheDirection, KeepsTheWeights):
        with pytest.raises(Failed, match=r"a step holds 4\d tensors beyond .* of a scope of 40: something of the size"):
            check_memory(cls, {})
    with pytest.raises(AssertionError, match=r"FAIL V6 memory +flat +40 tensors +a step holds 4\d tensors"):
        check_estimator(KeepsTheDirection, engines=["flat"], problems=["mlp"])


class GlobalStream(MeZO):
    """Directions from torch's global stream, reseeded every step as MeZO's code does."""

    def iterate(self, losses):
        torch.manual_seed(self.t)
        z = self.compute(lambda p: torch.randn(p.shape, dtype=p.dtype))
        lp, lm = losses(+self.eps * z, -self.eps * z)
        self.descend((lp - lm) / (2 * self.eps) * z)
        return lp


class Unseeded(MeZO):
    def iterate(self, losses):
        z = self.compute(lambda p: torch.randn(p.shape, dtype=p.dtype))
        lp, lm = losses(+self.eps * z, -self.eps * z)
        self.descend((lp - lm) / (2 * self.eps) * z)
        return lp


class OfPython(MeZO):
    """As far as Python's own generator says."""

    def iterate(self, losses):
        z = self.noise()
        self.descend(random.random() * losses.slope(z, self.eps) * z)


def test_v7_random_streams():
    assert outcome("V7 random streams", MeZO) == "pass"
    assert "global random stream" in outcome("V7 random streams", GlobalStream)
    assert outcome("V7 random streams", OfPython) == "the run depends on a global random stream"
    assert "another seed gives the same run" in outcome("V7 seed", GlobalStream)
    assert outcome("V7 seed", Unseeded) == "two runs with one seed differ"


class Forgetful(Undeclared):
    """Momentum in a plain dict, which no checkpoint knows."""

    def setup(self):
        self.kept = {}

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z, self.eps)
        for p, g in self.each(c * z):
            self.kept[p.name] = 0.9 * self.kept.get(p.name, 0) + g
        self.descend(self.compute(lambda p: self.kept[p.name]))


def test_v7_resume_and_replay():
    assert "resumed run differs" in outcome("V7 resume", Forgetful)
    assert outcome("V7 replay log", Forgetful) == "pass"


class LooksAtLosses(MeZO):
    """Branches on something the log does not hold."""

    def iterate(self, losses):
        out = super().iterate(losses)
        if losses._objective is not None:
            self.descend(0.1 * self.noise())
        return out


def test_v7_replay():
    assert "replayed weights differ" in outcome("V7 replay log", LooksAtLosses)


class RemembersForwards(MeZO):
    """Fills a buffer only where a loss was really computed: the weights of a replay are right, its state is not."""

    state_per_parameter: ClassVar[float] = 1.0

    def iterate(self, losses):
        out = super().iterate(losses)
        if losses._objective is not None:
            self.buffer("seen").assign(0.0 * self.noise())
        return out


def test_v7_replay_with_another_state():
    assert outcome("V7 replay log", RemembersForwards) == "replay left another state"


class NotNeutral(MeZO):
    neutral: ClassVar = {"beta": 0.0}
    beta: float = 0.5

    def iterate(self, losses):
        z = self.noise("rademacher")
        self.descend(losses.slope(z, self.eps) * z)


def test_v8_neutral():
    assert outcome("V8 neutral", SparseMeZO) == "pass"
    assert "differs from MeZO" in outcome("V8 neutral", NotNeutral)
    assert outcome("V8 neutral", LOZO) == "n/a"


# ---- what only the comparison of engines sees, and the whole report


class PerturbedMask(SparseMeZO):
    """The mask is taken from the weights as they stand, displaced in the engines that displace them."""

    def iterate(self, losses):
        z, eps = self.noise(), 0.05
        by = {p.name: p for p in self.active}
        (lp,) = losses(eps * z)
        m = {n: (p.param.data.abs() <= self.h[p]).to(p.dtype) for n, p in by.items()}
        mask = self.compute(lambda p: m[p.name], name="mask")
        (lm,) = losses(-eps * (mask * z))
        self.descend((lp - lm) / (2 * eps) * (mask * z))
        return lp


def test_a_mask_of_the_perturbed_weights_is_seen_by_the_comparison():
    with pytest.raises(
        AssertionError, match=r"(?s)PerturbedMask.*FAIL engines agree: full +flat .*differ from those of pair"
    ):
        check_estimator(PerturbedMask, engines=["pair", "flat"], problems=["mlp"])


class InPlace(Estimator):
    """Changes a buffer in place between the look and the move."""

    eps: float = 1e-3
    state_per_parameter: ClassVar[float] = 1.0

    def setup(self):
        self.h = self.buffer("h", init=1.0)

    def iterate(self, losses):
        z = self.noise()
        c = losses.slope(z / self.h, self.eps)
        for p in self.active:
            self.h[p].mul_(1.1)
        self.descend(c * (z / self.h))


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_a_buffer_changed_in_place_is_refused_everywhere(engine):
    with pytest.raises(
        AssertionError, match=r"RuntimeError: buffer 'h' was changed in place.*test_kit_bites.py:\d+, in iterate"
    ):
        check_estimator(InPlace, engines=[engine], problems=["mlp"])


class Tilted(MeZO):
    """Cannot stand without a setting."""

    side: str = ""
    needs: ClassVar = {"side": "left"}

    def setup(self):
        if not self.side:
            raise ValueError("which side?")


class InPlaceAfterTheMove(InPlace):
    def iterate(self, losses):
        z = self.noise()
        self.descend(losses.slope(z / self.h, self.eps) * (z / self.h))
        for p in self.active:
            self.h[p].mul_(1.1)


@pytest.mark.parametrize("engine", ["flat", "pair"])
def test_a_buffer_may_be_changed_in_place_once_the_step_has_moved(engine):
    case = Case(InPlaceAfterTheMove, {}, engine, "mlp")
    assert len(case.run().opt.log) > 1


def test_settings_that_a_class_needs_are_given_to_every_check():
    assert check_estimator(Tilted, engines=["flat"], problems=["mlp"]).settings == {"side": "left"}
    with pytest.raises(AssertionError, match="which side"):
        check_estimator(Tilted, engines=["flat"], problems=["mlp"], side="")


class OneFault(MeZO):
    forwards_per_step: ClassVar = 3


def test_the_report_names_check_estimator_and_engine():
    with pytest.raises(AssertionError) as caught:
        check_estimator(OneFault, engines=["flat"], problems=["mlp"])
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("OneFault(): ") and lines[0].endswith("checks passed")
    assert lines[1:] == ["FAIL V5 forwards            flat      mlp       2 forwards a step, forwards_per_step says 3"]


def test_a_sound_estimator_of_a_third_party_passes():
    class Momentum(Estimator):
        """Heavy ball on the estimate."""

        neutral: ClassVar = {"beta": 0.0}
        state_per_parameter: ClassVar[float] = 1.0
        forwards_per_step: ClassVar = 2
        moves_along_looks: ClassVar = False
        eps: float = 1e-3
        beta: float = 0.9

        def setup(self):
            self.m = self.buffer("m")

        def iterate(self, losses):
            z = self.noise()
            self.m.assign(self.beta * self.m + losses.slope(z, self.eps) * z)
            self.descend(self.m)

    report = check_estimator(Momentum, problems=["mlp"])
    assert report.passed and not report.failures
    assert {f.detail for f in report.of("V1")} == {"in the span of the looks"}
    assert "pass V8 neutral" in str(report)


def test_a_sound_low_rank_estimator_passes_with_its_own_factors():
    class Mine(Estimator):
        eps: float = 1e-3

        def iterate(self, losses):
            u = self.noise(shape=lambda p: (p.shape[0], 1), on=matrices, label="u")
            v = self.noise(shape=lambda p: (p.shape[1], 1), on=matrices, label="v", every=3)
            d = u @ v.T + self.noise(on=vectors)
            self.descend(losses.slope(d, self.eps) * d)

    assert check_estimator(Mine, engines=["flat", "deferred"], problems=["mlp"]).passed


def test_v7_replay_with_forwards(monkeypatch):
    def looks_again(self, log, replay=Estimator.replay):
        replay(self, log)
        self.forwards["train"] += 1

    monkeypatch.setattr(Estimator, "replay", looks_again)
    assert outcome("V7 replay log", MeZO) == "replay made forwards: Counter({'train': 1})"
