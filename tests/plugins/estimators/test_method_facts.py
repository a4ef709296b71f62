"""What each method is known for, beyond the battery."""

from __future__ import annotations

import pytest
import torch
from kits.matrix import named
from torch import nn
from zobench_plugins.estimators.adamw import AdamW
from zobench_plugins.estimators.fzoo import FZOO
from zobench_plugins.estimators.hizoo import HiZOO
from zobench_plugins.estimators.lozo import LOZO
from zobench_plugins.estimators.mezo import MeZO
from zobench_plugins.estimators.sparse_mezo import SparseMeZO
from zobench_plugins.estimators.zero_shot import ZeroShot
from zobench_plugins.estimators.zo_adam import ZOAdam

from zobench import Scope, ZobenchError
from zobench.testing import mlp


def matrix(rows=16, columns=12, dtype=torch.float32, seed=0):
    w = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return nn.Parameter(w)


def steps(opt, problem, n):
    return [float(opt.step(problem.objective(opt.t))) for _ in range(n)]


def settled(opt, params):
    opt.settle()
    return [p.detach().clone() for p in params]


# ---- sparse_mezo


def moved(before, after):
    return float((before != after).float().mean())


@pytest.mark.parametrize("refresh", ["mask", "never", "threshold"])
def test_sparse_mezo_moves_the_quarter_of_smallest_weights(refresh):
    w = matrix(64, 64, torch.float64)
    start = w.detach().clone()
    opt = SparseMeZO([("w", w)], lr=1e-4, refresh=refresh)
    opt.step(lambda: w.detach().sum())
    (now,) = settled(opt, [w])
    assert moved(start, now) == 0.25
    assert float(start[start != now].abs().max()) <= float(start[start == now].abs().min())


def test_sparse_mezo_masks_follow_their_names():
    def active(refresh):
        w = matrix(64, 64, torch.float64)
        start, shares = w.detach().clone(), []
        opt = SparseMeZO([("w", w)], lr=1.0, refresh=refresh, eps=1e-3)
        ever = torch.zeros_like(start, dtype=torch.bool)
        for _ in range(5):
            before = w.detach().clone()
            opt.step(lambda: w.detach().sum() * 1e-2)
            (now,) = settled(opt, [w])
            shares.append(moved(before, now))
            ever |= now != start
        return shares, float(ever.double().mean())

    fixed, ever = active("never")
    assert fixed == [0.25] * 5 and ever == 0.25
    exact, ever = active("threshold")
    assert exact == [0.25] * 5 and ever > 0.25
    falling, ever = active("mask")
    assert falling[-1] < 0.25 and ever == 0.25, "weights leave the mask as they grow; from outside none comes in"


def test_sparse_mezo_treats_vectors_as_told():
    def shares(vectors):
        w, b = matrix(8, 8, torch.float64), nn.Parameter(torch.randn(8, dtype=torch.float64))
        start = b.detach().clone()
        opt = SparseMeZO([("w", w), ("b", b)], lr=1e-4, vectors=vectors)
        opt.step(lambda: w.detach().sum() + b.detach().sum())
        return moved(start, settled(opt, [b])[0])

    assert [shares(v) for v in ("masked", "dense", "fixed")] == [0.25, 1.0, 0.0]


@pytest.mark.parametrize("rows", named([64, 4097], [64]))
def test_sparse_mezo_threshold_of_a_tensor_that_torch_quantile_refuses(monkeypatch, rows):
    """It refuses more than 2^24 numbers; here, by default, any."""
    w = nn.Parameter(torch.linspace(-1, 1, 4096 * rows).reshape(4096, rows))
    if rows < 4096:
        for of in (torch, torch.Tensor):
            monkeypatch.setattr(of, "quantile", lambda *args, **more: 1 / 0)
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        torch.quantile(w.detach().abs().flatten(), 0.25)
    opt = SparseMeZO([("w", w)], lr=0.0)
    share = float((w.detach().abs() <= opt.h[opt.handles[0]]).double().mean())
    assert share == pytest.approx(0.25, abs=1e-5)


def test_sparse_mezo_threshold_is_that_of_the_first_weights_even_where_the_scope_comes_late():
    class Late(Scope):
        def active(self, step):
            return lambda name: step >= 1 or name == "a"

    a, b = matrix(seed=1), matrix(seed=2)
    opt = SparseMeZO(Late([("a", a), ("b", b)]), lr=1e-3)
    h = float(b.detach().abs().flatten().kthvalue(round(0.25 * b.numel())).values)
    opt.step(lambda: a.detach().sum())
    with torch.no_grad():
        b.mul_(100)
    opt.step(lambda: a.detach().sum())
    assert float(opt.state_dict()["buffers"]["h"]["b"]) == pytest.approx(h)


# ---- lozo


def test_lozo_directions_have_their_rank_and_keep_v_for_nu_steps():
    w = matrix(16, 12, torch.float64)
    opt = LOZO([("w", w)], lr=1.0, rank=3, nu=2)
    rows, before = [], w.detach().clone()
    for _ in range(4):
        opt.step(lambda: (w.detach() * 1e-2).sum())
        (now,) = settled(opt, [w])
        delta, before = now - before, now
        assert int(torch.linalg.matrix_rank(delta, rtol=1e-6)) == 3
        rows.append(torch.linalg.svd(delta).Vh[:3])
    spans = [float((a @ b.T).square().sum()) for a, b in zip(rows, rows[1:], strict=False)]
    assert spans[0] == pytest.approx(3, abs=1e-6) and spans[2] == pytest.approx(3, abs=1e-6), "same V: the same rows"
    assert spans[1] < 2.9, "a new V"


def test_lozo_scale_is_rank_times_smaller_in_the_paper():
    def move(scale):
        w, b = matrix(16, 12, torch.float64), nn.Parameter(torch.zeros(3, dtype=torch.float64))
        opt = LOZO([("w", w), ("b", b)], lr=1.0, rank=4, scale=scale)
        before = w.detach().clone()
        opt.step(lambda: w.detach().sum())
        now, bias = settled(opt, [w, b])
        return now - before, bias

    (paper, b1), (code, b2) = move("paper"), move("code")
    assert torch.allclose(4 * paper, code, atol=1e-12) and torch.equal(b1, b2)


def test_lozo_as_released_moves_astray_at_every_refresh_and_only_there():
    from zobench.testing.attempt import Case
    from zobench.testing.watch import Watch

    def equal(a, b):
        return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)

    attempt = Case(LOZO, {"nu": 3, "refresh": "as_released"}, "pair", "mlp").attempt()
    watch, sound = Watch(attempt.opt), []
    for _ in range(7):
        watch.clear()
        attempt.go(1)
        sound.append(all(any(equal(m, d) for d in watch.looks) for m in watch.moves))
    assert sound == [False, True, True, False, True, True, False]


# ---- hizoo


def test_hizoo_curvature_is_float32_and_moves_where_16_bit_would_not():
    w = matrix(64, 64, torch.bfloat16)
    opt = HiZOO([("w", w)], lr=1e-6)  # the README's alpha, 1e-8
    opt.step(lambda: w.detach().float().square().sum())
    h = opt.state_dict()["buffers"]["h"]["w"]
    assert h.dtype == torch.float32
    assert float((h != 1).float().mean()) > 0.9
    assert float((h.to(torch.bfloat16) != 1).float().mean()) < 0.1


@pytest.mark.parametrize("engine", ["flat", "official"])
def test_hizoo_survives_small_eps_in_float16(engine):
    """Two ulps of a loss near 6, over 2 eps^2 = 2e-8, are more than the largest float16."""
    w = nn.Parameter(torch.zeros(4, 4, dtype=torch.float16))
    seen = iter(torch.tensor([6.0, 6.0078, 6.0], dtype=torch.float16))
    opt = HiZOO([("w", w)], lr=1e-3, alpha=1e-2, eps=1e-4, engine=engine)
    opt.step(lambda: next(seen))
    h = opt.state_dict()["buffers"]["h"]["w"]
    assert float(h.max()) > 1e3 and bool(h.isfinite().all()) and bool(w.isfinite().all())


def test_hizoo_finds_the_diagonal_curvature_of_a_quadratic():
    scale = torch.tensor([1.0, 100.0], dtype=torch.float64)
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    opt = HiZOO([("w", w)], lr=0.0, alpha=5e-3, eps=1e-3)
    for _ in range(1200):
        opt.step(lambda: 7.0 + 0.5 * (scale * w.detach().square()).sum())
    low, high = opt.state_dict()["buffers"]["h"]["w"].tolist()
    assert high / low > 20


# ---- fzoo


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred", "official"])
def test_fzoo_stays_where_all_losses_are_equal(engine):
    w = matrix()
    start = w.detach().clone()
    restore = {"restore": "arithmetic"} if engine == "official" else {}
    opt = FZOO([("w", w)], lr=1.0, engine=engine, **restore)
    for _ in range(3):
        opt.step(lambda: torch.tensor(0.7))
    (now,) = settled(opt, [w])
    assert bool(now.isfinite().all())
    if engine == "official":
        assert float((now - start).abs().max()) < 1e-5
    else:
        assert torch.equal(now, start)


def test_fzoo_step_does_not_depend_on_the_size_of_the_loss():
    def move(factor, deviation):
        w = matrix(dtype=torch.float64)
        before = w.detach().clone()
        opt = FZOO([("w", w)], lr=1e-3, deviation=deviation)
        opt.step(lambda: factor * w.detach().sum())
        return settled(opt, [w])[0] - before

    assert torch.allclose(move(1, "sample"), move(1000, "sample"), atol=1e-9)
    wider = float(move(1, "population").norm() / move(1, "sample").norm())
    assert wider == pytest.approx((8 / 7) ** 0.5, abs=1e-6)


# ---- Adam, by gradients and by looks


def decayed(problem):
    """Weights and biases apart, as the harness decays them."""
    named = problem.named()
    return [
        {"params": [p for n, p in named if "bias" not in n], "weight_decay": 0.1},
        {"params": [p for n, p in named if "bias" in n], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred"])
def test_adamw_is_torchs(engine):
    ours, theirs = mlp(), mlp()
    opt = AdamW(Scope(ours.named()), lr=1e-2, weight_decay=0.1, engine=engine)
    reference = torch.optim.AdamW(decayed(theirs), lr=1e-2)
    for t in range(12):
        opt.step(ours.objective(t))
        reference.zero_grad()
        theirs.loss(theirs.model, theirs.batch(t)).backward()
        reference.step()
    opt.settle()
    a, b = ours.weights(), theirs.weights()
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 1e-12
    assert opt.forwards["train"] == 12 and opt.forwards["backward"] == 12
    assert all(p.grad is None for _, p in ours.named()), "no gradient stays behind"


def test_adamw_of_one_layer_takes_gradients_for_it_alone():
    problem = mlp()
    for _, p in problem.named():
        p.requires_grad_(False)
    scope = [(n, p.requires_grad_(True)) for n, p in problem.named() if "layers.1" in n]
    opt = AdamW(Scope(scope), lr=1e-2)
    start = problem.weights()
    steps(opt, problem, 3)
    opt.settle()
    now = problem.weights()
    assert {n.split(".0.")[0] for n in now if not torch.equal(now[n], start[n])} == {"layers.1"}


def test_zo_adam_is_torchs_adam_on_the_estimate():
    ours, theirs = mlp(), mlp()
    opt = ZOAdam(Scope(ours.named()), lr=1e-2, engine="pair")
    look = MeZO(Scope(theirs.named()), lr=1.0, engine="pair")
    reference = torch.optim.Adam([p for _, p in theirs.named()], lr=1e-2)
    for t in range(12):
        opt.step(ours.objective(t))
        before = theirs.weights()
        look.step(theirs.objective(t))
        estimate = {n: before[n] - p.detach() for n, p in theirs.named()}  # lr 1: the move is minus c z
        with torch.no_grad():
            for n, p in theirs.named():
                p.copy_(before[n])
                p.grad = estimate[n]
        reference.step()
    opt.settle()
    a, b = ours.weights(), theirs.weights()
    assert max(float((a[n] - b[n]).abs().max()) for n in a) < 1e-9


# ---- zero_shot


def test_zero_shot_says_that_it_does_not_train():
    problem = mlp()
    opt = ZeroShot(Scope(problem.named()), lr=1.0)
    assert ZeroShot.trains is False
    with pytest.raises(TypeError, match="does not train"):
        opt.step(problem.objective(0))


# ---- settings


@pytest.mark.parametrize(
    ("cls", "setting", "text"),
    [
        (MeZO, {"eps": 0}, "eps=0: must be above 0"),
        (MeZO, {"epss": 1}, "did you mean 'eps'"),
        (SparseMeZO, {"sparsity": 1.0}, "must be at least 0 and below 1"),
        (SparseMeZO, {"refresh": "mas"}, "did you mean 'mask'"),
        (FZOO, {"n": 1}, "must be at least 2"),
    ],
)
def test_wrong_settings_are_named(cls, setting, text):
    with pytest.raises(ZobenchError, match=text):
        cls([("w", matrix())], lr=1.0, **setting)
