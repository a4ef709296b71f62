"""pseuzo: its step against its equations in plain torch, and what is linear in outputs, however it is asked."""

from __future__ import annotations

import pytest
from kits.drawing_kit import LR, run
from kits.reading_kit import Blocks, batch, difference, draw, loss, loss_at, objective, plus
from torch.func import functional_call
from zobench_plugins.estimators.pseuzo import PseuZO

from zobench import Objective, ZobenchError
from zobench.testing import mlp

EPS = 0.1
"""So far that the loss is curved."""


def outputs(theta, x):
    return functional_call(Blocks(), theta, (x,))


def pseuzo(steps=8, whole=False, at_the_look=False):
    theta = Blocks().weights()
    for t in range(steps):
        z, (x, y) = draw(theta, t), batch(t)
        o0, o1 = outputs(theta, x), outputs(plus(theta, EPS, z), x)
        c = float((2 * ((o1 if at_the_look else o0) - y) / len(y) * (o1 - o0)).sum()) / EPS
        if whole:
            c = float(loss_at(plus(theta, EPS, z), (x, y)) - loss_at(theta, (x, y))) / EPS
        theta = plus(theta, -LR * c, z)
    return theta


@pytest.mark.parametrize("engine", ["pair", "flat", "deferred", "official"])
def test_step(engine):
    ours, opt = run(PseuZO, engine=engine, eps=EPS)
    assert difference(ours, pseuzo()) < 1e-10
    assert difference(ours, pseuzo(whole=True)) > 1e-4, "linear in the outputs, not the loss itself"
    assert difference(ours, pseuzo(at_the_look=True)) > 1e-4, "the derivative is of theta"
    assert opt.forwards == {"train": 16} and opt.state_bytes() == 0


def test_what_is_linear_is_what_it_says():
    model, held = Blocks(), batch(0)
    value, other = Objective(model, loss, held, batched=False).linear()
    assert float(value) == pytest.approx(float(loss_at(model.weights(), held))) and float(other()) == 0
    points = [{n: w + k for n, w in model.weights().items()} for k in (0.1, -0.2)]
    o = outputs(model.weights(), held[0])
    want = [float((2 * (o - held[1]) / len(o) * (outputs(p, held[0]) - o)).sum()) for p in points]
    assert [float(x) for x in other.many(points)] == pytest.approx(want, rel=1e-9)
    assert [float(other.at(p)) for p in points] == pytest.approx(want, rel=1e-9)
    assert not any(p.grad is not None for p in model.parameters())


def test_points_side_by_side_are_those_one_after_the_other():
    problem = mlp()
    _, other = Objective(problem.model, problem.loss, problem.batch(0)).linear()
    points = [{n: w + k for n, w in problem.weights().items()} for k in (0.1, -0.2)]
    alone = [float(other.at(p)) for p in points]
    assert [float(x) for x in other.many(points)] == pytest.approx(alone, rel=1e-9) and min(map(abs, alone)) > 1e-3


def test_a_loss_without_a_derivative_says_so():
    flat = Objective(Blocks(), lambda forward, b: forward(b[0]).detach().mean(), batch(0))
    with pytest.raises(ZobenchError, match="this loss has no gradient"):
        flat.linear()


def test_steps_are_replayed_from_their_log():
    model, other = Blocks(), Blocks()
    opt = PseuZO(list(model.named_parameters()), lr=LR, eps=EPS, engine="flat")
    again = PseuZO(list(other.named_parameters()), lr=LR, eps=EPS, engine="flat")
    for k in range(3):
        opt.step(objective(model, k))
        again.replay([opt.log[-1]])
    opt.settle()
    again.settle()
    assert difference(model.weights(), other.weights()) == 0
