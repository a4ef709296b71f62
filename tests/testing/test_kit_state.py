"""A method whose state has shapes of its own declares it by shape."""

import io
import pickle
from types import SimpleNamespace

import pytest
import torch
from zobench_plugins.estimators.mezo import MeZO

from zobench import Estimator, matrices
from zobench.estimator import state
from zobench.testing import Finding, Report, check_estimator, checks, selectors
from zobench.testing.attempt import Case
from zobench.testing.expect import Failed
from zobench.testing.watch import Watch


class Factors(Estimator):
    """MeZO that keeps a row and a column of every matrix."""

    eps: float = 1e-3

    def setup(self):
        self.rows = self.buffer("rows", shape=lambda p: (p.shape[0], 4), on=matrices)

    def iterate(self, losses):
        z = self.noise()
        self.rows.assign(self.noise(shape=lambda p: (p.shape[0], 4), on=matrices))
        self.descend(losses.slope(z, self.eps) * z)


class Declared(Factors):
    """The same, declared."""

    def state_of(self, shape):
        return 4.0 * shape[0] if len(shape) == 2 else 0.0


def test_state_of_declares_by_shape():
    check_estimator(Declared, engines=["flat"], problems=["mlp"])
    with pytest.raises(AssertionError, match="or state_of, where the method has one"):
        check_estimator(Factors, engines=["flat"], problems=["mlp"])


def test_a_state_is_resumed_from_plain_tensors_and_values_alone():
    attempt = Case(MeZO, {}, "flat", "mlp").attempt()
    attempt.resume(attempt.checkpoint())
    file = io.BytesIO()
    torch.save({"state": {"own": CodeOfItsOwn()}, "weights": attempt.weights()}, file)
    with pytest.raises(pickle.UnpicklingError, match="[Ww]eights.only"):
        attempt.resume(file.getvalue())


class CodeOfItsOwn:
    pass


def test_what_was_noted_is_forgotten_of_looks_and_moves():
    attempt = Case(MeZO, {}, "flat", "mlp").attempt()
    watch = Watch(attempt.opt)
    attempt.go(1)
    assert watch.looks and watch.moves
    watch.clear()
    assert watch.looks == watch.moves == []


def test_a_report_without_a_finding_is_none_that_passed():
    assert not Report("Mine").passed
    assert not Report("Mine", findings=[Finding("V1", "flat", "mlp", None)]).passed, (
        "what applies nowhere shows nothing"
    )
    assert Report("Mine", findings=[Finding("V1", "flat", "mlp", True), Finding("V2", "flat", "mlp", None)]).passed
    assert not Report("Mine", findings=[Finding("V1", "flat", "mlp", True), Finding("V2", "flat", "mlp", False)]).passed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: model.register_buffer("more", torch.zeros(2)), "the model has other buffers"),
        (lambda model: model.norm.register_parameter("more", torch.nn.Parameter(torch.zeros(2))), "other weights"),
        (lambda model: model.train(), "modules were put into another mode"),
        (lambda model: None, None),
    ],
)
def test_what_a_selector_leaves_on_a_model_is_seen(change, says):
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.norm = torch.nn.BatchNorm1d(3, track_running_stats=False)
    model.eval()
    loaded = SimpleNamespace(model=model)
    before = selectors.state(loaded)
    change(model)
    case = SimpleNamespace(trial=SimpleNamespace(before=before, after=selectors.state(loaded)))
    if says is None:
        assert selectors.untouched(case) == ""
    else:
        with pytest.raises(Failed, match=says):
            selectors.untouched(case)


def test_forwards_that_are_counted_anew_after_an_interruption_are_seen(monkeypatch):
    plain = state.load
    assert checks.resume(Case(MeZO, {}, "flat", "mlp")) == ""
    monkeypatch.setattr(state, "load", lambda est, s: (plain(est, s), est.forwards.clear()))
    with pytest.raises(Failed, match="the forward counter was not resumed"):
        checks.resume(Case(MeZO, {}, "flat", "mlp"))
