"""grzo: the algorithm against its equations in plain torch: a direction for each example, and the group's spread."""

from __future__ import annotations

import pytest
import torch
from kits.drawing_kit import Resting, rademacher, rests, run
from kits.reading_kit import BATCH, Blocks, batch, difference, gaussian, loss, loss_at, plus
from torch import nn
from zobench_plugins.estimators.grzo import GRZO

from zobench import Objective, Scope, ZobenchError

LR, EPS = 1e-5, 1e-3


def each(b):
    return list(zip(b[0].split(1), b[1].split(1), strict=True))


def objective(model, k, count=BATCH):
    """The loss of the k-th batch, or of its first examples, which can be split."""
    b = tuple(x[:count] for x in batch(k))
    return Objective(model, loss, b, batched=False, examples=lambda: each(b))


def in_plain_torch(
    steps=8, relative=True, correction=1, floor=1e-8, count=BATCH, shared=False, rest=False, u_all=False
):
    """theta <- theta - lr sum_i a_i z_i / (2 eps B), a_i = delta_i / (std delta + floor), delta_i half a difference.

    z_i = U * (r_i s_i^T) on the matrices, U * r_i with U of signs on the embedding, signs on vectors (u_all: times U).
    """
    theta = Blocks().weights()
    for t in range(steps):
        moving = [n for n in theta if not (rest and rests(n, t))]
        examples = each(tuple(x[:count] for x in batch(t)))
        zs, delta = [], []
        for i, example in enumerate(examples):
            z, first = {}, 3 + 4 * (0 if shared else i)
            for n in moving:
                shape = tuple(theta[n].shape)
                if n == "embed":
                    z[n] = rademacher(t, 2, n, shape) * rademacher(t, first + 2, n, (shape[0], 1))
                elif len(shape) == 2:
                    r, s = (rademacher(t, first + j, n, (k, 1)) for j, k in enumerate(shape))
                    z[n] = gaussian(0, t, 1, n, shape) * torch.outer(r[:, 0], s[:, 0])
                else:
                    z[n] = rademacher(t, first + 3, n, shape) * (gaussian(0, t, 1, n, shape) if u_all else 1)
            zs.append(z)
            delta.append(loss_at(plus(theta, EPS, z), example) - loss_at(plus(theta, -EPS, z), example))
        delta = torch.stack(delta) / 2
        a = delta / (delta.std(correction=correction) + floor) if relative else 2 * delta
        for one, z in zip(a.tolist(), zs, strict=True):
            theta = plus(theta, -LR * one / (2 * EPS * len(zs)), z)
    return theta


@pytest.mark.parametrize("relative", [True, False])
def test_step(relative):
    ours, opt = run(GRZO, make=objective, lr=LR, relative=relative)
    assert difference(ours, in_plain_torch(relative=relative)) < 1e-10
    assert difference(ours, in_plain_torch(relative=not relative)) > 1e-5
    assert difference(ours, in_plain_torch(relative=relative, shared=True)) > 1e-5, "one direction for all of them"
    assert opt.forwards == {"train": 8 * GRZO.forwards_per_step}, "over the batch"


def test_what_it_was_before_is_another_method():
    ours, _ = run(GRZO, make=objective, lr=LR)
    assert difference(ours, in_plain_torch(correction=0)) > 1e-5, "a deviation over B, not B - 1"
    assert difference(ours, in_plain_torch(u_all=True)) > 1e-5, "a Gaussian U on vectors"


def test_biases_of_linear_layers_rest_and_those_of_norms_move():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.norm = nn.Linear(5, 5), nn.LayerNorm(5)

        def forward(self, x):
            return self.norm(self.fc(x)).sum(-1)

    model = Net().double()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    opt = GRZO(Scope(model.named_parameters()), lr=LR, engine="pair")
    opt.step(Objective(model, loss, batch(0), batched=False, examples=lambda: each(batch(0))))
    opt.settle()
    still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
    assert still == {"fc.bias"}


@pytest.mark.parametrize("engine", ["flat", "official", "deferred"])
def test_every_engine_takes_the_same_steps(engine):
    assert difference(run(GRZO, make=objective, lr=LR, engine=engine)[0], in_plain_torch()) < 1e-10


def test_floor_and_a_scope_that_rests():
    ours, _ = run(GRZO, make=objective, lr=LR, floor=1.0)
    assert difference(ours, in_plain_torch(floor=1.0)) < 1e-10
    ours, _ = run(GRZO, make=objective, lr=LR, scope=Resting)
    assert difference(ours, in_plain_torch(rest=True)) < 1e-10


def test_a_step_is_as_long_whatever_the_size_of_the_loss():
    def scaled(factor):
        def make(model, k):
            b = batch(k)
            return Objective(model, lambda f, e: factor * loss(f, e), b, batched=False, examples=lambda: each(b))

        return run(GRZO, steps=1, make=make, lr=LR)[0]

    assert difference(scaled(1), scaled(1000)) < 1e-7
    long = torch.cat([(w - s).flatten() for w, s in zip(scaled(1).values(), Blocks().weights().values(), strict=True)])
    assert 0.7 < float(long.square().mean().sqrt()) * (2 * EPS * BATCH**0.5) / LR < 2, "about lr / (2 eps sqrt(B))"


def test_directions_of_examples_are_uncorrelated():
    """Signs make of one Gaussian matrix as many as there are examples."""
    _, opt = run(GRZO, steps=1, make=objective)
    u, (a, b) = opt.base(), (opt.signs() for _ in range(2))
    flat = [torch.cat([v.flatten() for _, v in opt.each(u * s + v)]) for s, v in (a, b)]
    assert torch.equal(flat[0].abs(), flat[1].abs())
    assert abs(float(flat[0] @ flat[1] / flat[0].norm() ** 2)) < 0.35


def test_an_example_alone_has_no_group():
    def alone(model, k):
        return objective(model, k, count=1)

    with pytest.raises(ZobenchError, match="choose a batch size that leaves none alone, or relative=false"):
        run(GRZO, make=alone, lr=LR)
    ours, _ = run(GRZO, make=alone, lr=LR, relative=False)
    assert difference(ours, in_plain_torch(relative=False, count=1)) < 1e-10


def test_where_all_differences_are_0_it_stays():
    def flat(model, k):
        return Objective(
            model, lambda f, e: torch.tensor(0.7), batch(k), batched=False, examples=lambda: each(batch(k))
        )

    assert difference(run(GRZO, make=flat, lr=1.0)[0], Blocks().weights()) == 0


def test_an_objective_that_cannot_be_split_says_so():
    with pytest.raises(RuntimeError, match="cannot be split"):
        run(GRZO, steps=1, make=lambda model, k: Objective(model, loss, batch(k)))
    with pytest.raises(ZobenchError, match="GRZO.floor=0: must be above 0"):
        run(GRZO, steps=0, floor=0)
