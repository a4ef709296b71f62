"""ZO-Bench's methods beside MeZO and ZO-Adam: each step against its equations in plain torch, and what is not it."""

from __future__ import annotations

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, loss, loss_at, objective, plus, slope
from torch import nn
from zobench_plugins.estimators.forward_grad import ForwardGrad
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.zo_adamm import ZOAdaMM
from zobench_plugins.estimators.zo_sgd_conservative import ZOSGDConservative
from zobench_plugins.estimators.zo_sgd_momentum import ZOSGDMomentum
from zobench_plugins.estimators.zo_sgd_sign import ZOSGDSign

from zobench import Objective, Scope, ZobenchError
from zobench.testing import gaussian
from zobench.testing.moments import check_moments

LR, EPS, STEPS = 1e-2, 1e-3, 8


def run(cls, steps=STEPS, engine="pair", masks=None, lr=LR, **settings):
    """The weights before each step and after the last."""
    model = Blocks()
    opt = cls(Scope(model.named_parameters(), masks=masks), lr=lr, engine=engine, **settings)
    path = [model.weights()]
    for k in range(steps):
        opt.step(objective(model, k))
        opt.settle()
        path.append(model.weights())
    return path


def ends(cls, **settings):
    return run(cls, **settings)[-1]


def each(theta, fn, *others):
    """A new set of tensors: fn of those of one name."""
    return {n: fn(x, *(o[n] for o in others)) for n, x in theta.items()}


def estimates(theta, t, lr=LR):
    """z and c of MeZO at a step."""
    z = draw(theta, t)
    return z, slope(theta, z, batch(t), EPS)


# ---- zo_sgd_sign


def signs(form, steps=STEPS):
    theta = Blocks().weights()
    for t in range(steps):
        z, c = estimates(theta, t)
        d = each(z, torch.sign) if form == "coordinate" else z
        theta = plus(theta, -LR if c > 0 else LR, d)
    return theta


@pytest.mark.parametrize("form", ["coordinate", "scalar"])
@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_sign_step(form, engine):
    assert difference(ends(ZOSGDSign, form=form, engine=engine), signs(form)) < 1e-12


def test_the_forms_of_sign_are_told_apart():
    assert ZOSGDSign.form == "coordinate"
    ends_of = [signs("coordinate"), *(ends(ZOSGDSign, form=f) for f in ("scalar", "as_released"))]
    assert all(difference(a, b) > LR for i, a in enumerate(ends_of) for b in ends_of[:i])
    first, second = run(ZOSGDSign, steps=1)
    for n in first:
        assert torch.allclose((second[n] - first[n]).abs(), torch.tensor(LR, dtype=torch.float64), rtol=1e-9)


def test_sign_as_released_is_adamw_on_the_scalars_sign():
    model = Blocks()
    reference = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    for t in range(STEPS):
        z, c = estimates(model.weights(), t)
        for n, p in model.named_parameters():
            p.grad = z[n] if c > 0 else -z[n]
        reference.step()
    assert difference(ends(ZOSGDSign, form="as_released"), model.weights()) < 1e-12


@pytest.mark.parametrize("form", ["coordinate", "scalar"])
def test_without_a_sign_the_weights_stay(form):
    w = nn.Parameter(torch.ones(3, 2))
    ZOSGDSign([("w", w)], lr=1.0, form=form).step(lambda: torch.tensor(0.5))
    assert torch.equal(w.detach(), torch.ones(3, 2))


# ---- zo_sgd_momentum


def momentum(factor, dampening=0.0):
    """torch's SGD on c z."""
    model = Blocks()
    reference = torch.optim.SGD(model.parameters(), lr=LR, momentum=factor, dampening=dampening)
    for t in range(STEPS):
        z, c = estimates(model.weights(), t)
        for n, p in model.named_parameters():
            p.grad = c * z[n]
        reference.step()
    return model.weights()


@pytest.mark.parametrize("engine", ["flat", "pair"])
def test_momentum_step(engine):
    ours = ends(ZOSGDMomentum, engine=engine)
    assert difference(ours, momentum(0.9)) < 1e-12
    assert difference(ours, momentum(0.9, dampening=0.9)) > 1e-3, "an average of the estimates is another method"


def test_momentum_0_is_mezo():
    assert difference(ends(ZOSGDMomentum, momentum=0.0), ends(MeZO)) < 1e-12


# ---- zo_sgd_conservative


def conservative(lr, eps, order, steps):
    theta, taken = Blocks().weights(), []
    for t in range(steps):
        b, z = batch(t), draw(theta, t)
        c = slope(theta, z, b, eps)
        best = min(order, key=lambda s: float(loss_at(plus(theta, -s * lr * c, z), b)))
        theta = plus(theta, -best * lr * c, z)
        taken.append(best)
    return theta, taken


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_conservative_takes_the_best_of_three(engine):
    """eps 0.7 is so wide that the slope has the wrong sign now and then, lr so large that often neither step helps."""
    want, taken = conservative(0.05, 0.7, (0, 1, -1), 25)
    assert set(taken) == {0, 1, -1}
    assert difference(ends(ZOSGDConservative, lr=0.05, eps=0.7, steps=25, engine=engine), want) < 1e-11


class AlwaysAhead(ZOSGDConservative):
    """Looks, but goes whatever it sees: MeZO at more forwards."""

    def iterate(self, losses):
        shown = losses.base()
        z = self.noise()
        self.descend(losses.slope(z, self.eps) * z)
        return shown


def test_a_rule_that_does_not_compare_is_found():
    want, _ = conservative(0.05, 0.7, (0, 1, -1), 25)
    assert difference(ends(AlwaysAhead, lr=0.05, eps=0.7, steps=25), want) > 1e-2


@pytest.mark.parametrize(("ties", "moves"), [("stay", 0.0), ("as_released", +1.0)])
def test_ties(ties, moves):
    """All candidates equal, as in 16 bit: the released code goes back, which is uphill."""
    w = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    seen = iter(torch.tensor([1.0, 1.2, 1.0, 1.0, 1.0], dtype=torch.float64))
    opt = ZOSGDConservative([("w", w)], lr=LR, ties=ties)
    z = draw({"w": w.detach()}, 0)["w"]
    opt.step(lambda: next(seen))
    assert torch.allclose(w.detach(), moves * LR * (1.2 - 1.0) / (2 * EPS) * z, atol=1e-9)


@pytest.mark.parametrize(("ahead", "back", "moves"), [(0.9, 0.9, -1.0), (1.0, 1.1, 0.0), (1.1, 0.9, +1.0)])
def test_conservative_chooses(ahead, back, moves):
    w = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))
    seen = iter(torch.tensor([1.0, 1.2, 1.0, ahead, back], dtype=torch.float64))
    opt = ZOSGDConservative([("w", w)], lr=LR)
    z = draw({"w": w.detach()}, 0)["w"]
    opt.step(lambda: next(seen))
    assert torch.allclose(w.detach(), moves * LR * (1.2 - 1.0) / (2 * EPS) * z, atol=1e-9)


def test_conservative_with_groups_of_their_own_rates():
    """The point looked at is the point gone to, tensor by tensor."""
    w, v = (nn.Parameter(torch.ones(2, 2, dtype=torch.float64)) for _ in range(2))
    opt = ZOSGDConservative([{"params": [("w", w)], "lr": 1e-3}, {"params": [("v", v)], "lr": 2e-3}], lr=1.0)
    at = []

    def closure():
        at.append((w.detach().clone(), v.detach().clone()))
        return (w.detach().square().sum() + v.detach().square().sum()) / 2

    opt.step(closure)
    opt.settle()
    assert torch.allclose(at[3][0], w.detach(), atol=1e-12) and torch.allclose(at[3][1], v.detach(), atol=1e-12)


# ---- zo_adamm


def adamm(denominator="max", q=1, sphere=True, steps=STEPS, mask=None, beta1=0.9, beta2=0.3):
    """Algorithm 1 on one long vector; `mask`: where entries may move."""
    theta = Blocks().weights()
    names = list(theta)

    def flat(d):
        return torch.cat([d[n].flatten() for n in names])

    def split(v):
        parts = v.split([theta[n].numel() for n in names])
        return {n: x.reshape(theta[n].shape) for n, x in zip(names, parts, strict=True)}

    free = torch.ones_like(flat(theta)) if mask is None else flat(mask).double()
    d = int(free.sum())
    mu = EPS * d**0.5
    m, v = torch.zeros_like(free), torch.full_like(free, 1e-7)
    vhat = v.clone()
    for t in range(steps):
        b, g = batch(t), torch.zeros_like(free)
        for i in range(q):
            z = flat(draw(theta, t, i + 1)) * free
            u = z / (z.norm() if sphere else d**0.5)
            g += d / (mu * q) * float(loss_at(plus(theta, mu, split(u)), b) - loss_at(theta, b)) * u
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        vhat = torch.maximum(vhat, v)
        theta = plus(theta, -LR, split(m / (vhat if denominator == "max" else v).sqrt()))
    return theta


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_adamm_step(engine):
    assert difference(ends(ZOAdaMM, engine=engine), adamm()) < 1e-9


@pytest.mark.parametrize(
    ("settings", "read"),
    [
        ({"denominator": "v"}, {"denominator": "v"}),
        ({"direction": "gaussian"}, {"sphere": False}),
        ({"q": 3}, {"q": 3}),
        ({"beta1": 0.5, "beta2": 0.99}, {"beta1": 0.5, "beta2": 0.99}),
    ],
)
def test_adamm_settings(settings, read):
    ours = ends(ZOAdaMM, **settings)
    assert difference(ours, adamm(**read)) < 1e-9
    assert difference(ours, adamm()) > 1e-4, "told apart from the defaults"


def test_adamm_sphere_is_that_of_the_entries_that_may_move():
    g = torch.Generator().manual_seed(1)
    masks = {n: torch.rand(w.shape, generator=g) < 0.5 for n, w in Blocks().weights().items()}
    assert difference(ends(ZOAdaMM, masks=masks), adamm(mask=masks)) < 1e-9


def test_adamm_keeps_no_maximum_that_it_does_not_use():
    def held(**settings):
        w = nn.Parameter(torch.ones(50, 40))
        opt = ZOAdaMM([("w", w)], lr=LR, **settings)
        opt.step(lambda: w.detach().sum())
        return opt.state_bytes() / w.numel() / 4

    assert held() == 3 and held(denominator="v") == 2


# ---- forward_grad


def forward_gradient(steps=STEPS):
    theta = Blocks().weights()
    for t in range(steps):
        v = draw(theta, t)
        leaves = {n: w.clone().requires_grad_() for n, w in theta.items()}
        grads = torch.autograd.grad(loss_at(leaves, batch(t)), list(leaves.values()))
        along = sum(float((g * v[n]).sum()) for n, g in zip(leaves, grads, strict=True))
        theta = plus(theta, -LR * along, v)
    return theta


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_forward_grad_step(engine):
    assert difference(ends(ForwardGrad, engine=engine), forward_gradient()) < 1e-12


def test_forward_grad_is_mezo_without_the_error_of_the_difference():
    exact = forward_gradient()
    coarse, fine = (difference(ends(MeZO, eps=eps), exact) for eps in (1e-1, 1e-3))
    assert coarse > 1e-4 and fine < coarse / 1e3


def test_forward_grad_moves_masked_entries_along_no_tangent():
    g = torch.Generator().manual_seed(1)
    masks = {n: torch.rand(w.shape, generator=g) < 0.5 for n, w in Blocks().weights().items()}
    start, after = run(ForwardGrad, steps=1, masks=masks)
    v = each(draw(start, 0), torch.mul, masks)
    leaves = {n: w.clone().requires_grad_() for n, w in start.items()}
    grads = torch.autograd.grad(loss_at(leaves, batch(0)), list(leaves.values()))
    along = sum(float((x * v[n]).sum()) for n, x in zip(leaves, grads, strict=True))
    assert difference(after, plus(start, -LR * along, v)) < 1e-12


def test_forward_grad_has_the_moments_of_spsa():
    assert "mean" in check_moments(ForwardGrad, {}, gaussian)


def test_forward_grad_is_replayed_from_its_slopes():
    model, again = Blocks(), Blocks()
    opt, twin = (ForwardGrad(Scope(m.named_parameters()), lr=LR) for m in (model, again))
    for k in range(4):
        opt.step(objective(model, k))
    twin.replay(opt.log)
    assert difference(model.weights(), again.weights()) == 0


@pytest.mark.parametrize("score", [lambda f, b: torch.tensor(-0.5), lambda f, b: loss(f, b).detach()])
def test_forward_grad_refuses_a_loss_without_a_derivative(score):
    model = Blocks()
    opt = ForwardGrad(Scope(model.named_parameters()), lr=LR)
    with pytest.raises(ZobenchError, match="this loss has no derivative: choose an estimator that needs none"):
        opt.step(Objective(model, score, batch(0)))
    assert difference(model.weights(), Blocks().weights()) == 0


# ---- settings


@pytest.mark.parametrize(
    ("cls", "setting", "text"),
    [
        (ZOSGDSign, {"form": "scalr"}, "did you mean 'scalar'"),
        (ZOSGDMomentum, {"momentum": 1.0}, "must be at least 0 and below 1"),
        (ZOSGDConservative, {"ties": "back"}, "unknown choice 'back'"),
        (ZOSGDConservative, {"eps": 0}, "must be above 0"),
        (ZOAdaMM, {"v_init": 0}, "must be above 0"),
        (ZOAdaMM, {"beta2": 1.0}, "must be at least 0 and below 1"),
        (ZOAdaMM, {"direction": "sphre"}, "did you mean 'sphere'"),
        (ForwardGrad, {"eps": 1e-3}, "unknown setting of ForwardGrad 'eps'"),
    ],
)
def test_wrong_settings_are_named(cls, setting, text):
    with pytest.raises(ZobenchError, match=text):
        cls([("w", nn.Parameter(torch.ones(2)))], lr=1.0, **setting)
