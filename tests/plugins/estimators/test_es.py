"""es: the step against its equations in plain torch, its three ways of counting losses, and what it does at ties."""

from __future__ import annotations

import pytest
import torch
from kits.reading_kit import Blocks, batch, difference, draw, loss_at, objective, plus
from torch import nn
from zobench_plugins.estimators.es import ES
from zobench_plugins.estimators.mezo import MeZO

from zobench import Scope, ZobenchError

LR, EPS = 1e-2, 1e-2


def run(cls, steps, **settings):
    model = Blocks()
    opt = cls(Scope(model.named_parameters()), **{"lr": LR, "eps": EPS, "engine": "pair", **settings})
    for k in range(steps):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights()


def zscores(values):
    """(l - mean) / std, std over n."""
    mean = sum(values) / len(values)
    std = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    return [(v - mean) / std for v in values]


def ranks(values):
    """From -0.5 for the least to 0.5 for the greatest; equal values share the mean of their places."""
    places = sorted(values)
    return [(places.index(v) + (len(places) - 1 - places[::-1].index(v))) / 2 / (len(values) - 1) - 0.5 for v in values]


SHAPINGS = {"zscore": zscores, "rank": ranks, "raw": lambda values: [v / EPS for v in values]}


def in_plain_torch(steps, shaping, n, mirrored):
    """theta <- theta - lr / n sum_i s_i z_i."""
    theta = Blocks().weights()
    for t in range(steps):
        if mirrored:
            zs = [
                {k: sign * v for k, v in draw(theta, t, i + 1).items()} for i in range(n // 2) for sign in (1.0, -1.0)
            ]
        else:
            zs = [draw(theta, t, i + 1) for i in range(n)]
        s = SHAPINGS[shaping]([float(loss_at(plus(theta, EPS, z), batch(t))) for z in zs])
        for si, z in zip(s, zs, strict=True):
            theta = plus(theta, -LR / n * si, z)
    return theta


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shaping", SHAPINGS)
def test_step(shaping, mirrored):
    settings = {"shaping": shaping, "mirrored": mirrored}
    ours = run(ES, 4, n=6, **settings)
    assert difference(ours, in_plain_torch(4, n=6, **settings)) < 1e-11
    for other in {*SHAPINGS} - {shaping}:
        assert difference(ours, in_plain_torch(4, other, 6, mirrored)) > 1e-5
    assert difference(ours, in_plain_torch(4, shaping, 6, not mirrored)) > 1e-5


def test_it_goes_down_not_up():
    """The mutant takes losses for rewards: it climbs."""

    class Climbs(ES):
        def shaped(self, ls):
            return super().shaped(-ls)

    start, b = Blocks().weights(), batch(0)

    def after(cls):
        model = Blocks()
        opt = cls(Scope(model.named_parameters()), lr=1e-2, n=8)
        for _ in range(15):
            opt.step(objective(model, 0))
        return float(loss_at(model.weights(), b))

    assert after(ES) < float(loss_at(start, b)) < after(Climbs)


@pytest.mark.parametrize("engine", ["flat", "official", "deferred", "pair"])
def test_two_mirrored_raw_looks_are_mezo_bit_for_bit(engine):
    ours = run(ES, 4, n=2, mirrored=True, shaping="raw", engine=engine)
    assert difference(ours, run(MeZO, 4, engine=engine)) == 0


def moved_by(losses, dtype=torch.float64, **settings):
    """How far a step moves weights whose looks give these losses."""
    w = nn.Parameter(torch.zeros(64, dtype=dtype))
    seen = iter(losses)
    opt = ES([("w", w)], lr=1.0, n=len(losses), engine="pair", **settings)
    opt.step(lambda: torch.tensor(next(seen), dtype=dtype))
    return w.detach()


@pytest.mark.parametrize("shaping", ["zscore", "rank"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_equal_losses_teach_nothing(shaping, dtype):
    assert torch.equal(moved_by([0.7] * 4, dtype, shaping=shaping), torch.zeros(64, dtype=dtype))


def test_a_constant_on_the_loss_or_a_factor_changes_nothing():
    ls = [0.3, -1.0, 2.0, 0.5]
    for shaping in ("zscore", "rank"):
        there = moved_by(ls, shaping=shaping)
        assert torch.allclose(there, moved_by([100 * v + 7 for v in ls], shaping=shaping), atol=1e-12)
    assert not torch.allclose(moved_by(ls, shaping="raw"), moved_by([v + 7 for v in ls], shaping="raw"))


def test_ties_share_their_rank():
    opt = ES([("w", nn.Parameter(torch.zeros(1)))], lr=1.0, n=5, shaping="rank")
    assert opt.shaped(torch.tensor([3.0, 1.0, 3.0, 2.0, 9.0])).tolist() == pytest.approx(
        [0.125, -0.5, 0.125, -0.25, 0.5]
    )


def test_float16_losses_are_scored_in_float32():
    """Their deviation is below what float16 holds beside their mean."""
    ls = [6.0, 6.0039, 6.0, 6.0078]
    there = moved_by(ls, torch.float16)
    assert bool(there.isfinite().all()) and float(there.abs().max()) > 0.1


def test_the_step_is_lr_over_root_n():
    step = moved_by([float(i) for i in range(8)])
    many = torch.stack([moved_by([float(i) for i in range(8)], seed=s) for s in range(40)])
    assert float(many.square().mean().sqrt()) == pytest.approx(8**-0.5, rel=0.1)
    assert step.shape == (64,)


def test_two_tensors_of_one_shape_get_their_own_noise():
    a, b = (nn.Parameter(torch.zeros(50)) for _ in range(2))
    seen = iter([0.0, 1.0, 3.0])
    ES([("a", a), ("b", b)], lr=1.0, n=3).step(lambda: torch.tensor(next(seen)))
    both = torch.stack([a.detach(), b.detach()])
    assert abs(float(torch.corrcoef(both)[0, 1])) < 0.5


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"n": 1}, "n=1: must be at least 2"),
        ({"n": 5, "mirrored": True}, "n=5 is odd; set n to an even number"),
        ({"shaping": "ranks"}, "did you mean 'rank'"),
    ],
)
def test_wrong_settings_are_named(setting, text):
    with pytest.raises(ZobenchError, match=text):
        ES([("w", nn.Parameter(torch.zeros(2)))], lr=1.0, **setting)
