"""The estimator as its users meet it: settings, groups, schedulers, losses, errors, memory."""

import gc
import weakref

import pytest
import torch
from kits.toy_runs import ENGINES, MODES, Adaptive, MeZO, Run, apart, layer, same
from torch import nn

from zobench import Count, Estimator, Objective, Positive, Scope, ZobenchError
from zobench.estimator.estimator import Diverged


@pytest.mark.parametrize("engine", ENGINES)
def test_outside_the_harness_in_ten_lines(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    x = torch.randn(64, 4)
    y = (x[:, 0] > 0).long()
    opt = MeZO(model.parameters(), lr=0.1, engine=engine)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, 200)
    losses = []
    for _ in range(200):
        losses.append(float(opt.step(lambda: nn.functional.cross_entropy(model(x), y))))
        schedule.step()
    opt.settle()
    assert isinstance(opt, torch.optim.Optimizer)
    assert sum(losses[-5:]) / 5 < 0.6 * losses[0]


def test_groups_have_their_own_lr_and_decay():
    def build(engine, restore):
        run = Run(engine="flat")
        run.model.layers[0].requires_grad_(False)
        own = [{}, {"lr": 1e-1, "weight_decay": 1.0}, {}]
        named = list(run.model.named_parameters())
        groups = [{"params": [x for x in named if f"layers.{i}." in x[0]], **kw} for i, kw in enumerate(own)]
        run.opt = MeZO(groups, lr=1e-3, engine=engine, restore=restore)
        return run

    runs = [build(e, r) for e, r in MODES]
    for run in runs:
        run.go(5)
    want = runs[0].weights()
    assert torch.equal(want["layers.0.weight"], runs[0].start["layers.0.weight"])  # does not require grad
    assert all(apart(want, r.weights()) < 1e-12 for r in runs)
    plain = build("flat", "exact")
    plain.opt.param_groups[1]["weight_decay"] = 0.0
    plain.go(5)
    moved = (want["layers.1.weight"] - plain.weights()["layers.1.weight"]).norm()
    assert moved > 0.3 * plain.weights()["layers.1.weight"].norm()


def test_weight_decay_is_mezos():
    """theta - lr * (g z + wd theta), not for biases; here the losses are equal, so that g = 0."""
    for engine, restore in MODES:
        w, b = nn.Parameter(torch.ones(3, 2, dtype=torch.float64)), nn.Parameter(torch.ones(3, dtype=torch.float64))
        opt = MeZO([("fc.weight", w), ("fc.bias", b)], lr=0.1, weight_decay=0.5, engine=engine, restore=restore)
        opt.step(lambda: torch.tensor(1.0))
        opt.settle()
        assert torch.allclose(w, torch.full_like(w, 0.95), atol=1e-12) and torch.allclose(
            b, torch.ones_like(b), atol=1e-12
        )


def test_a_scope_moves_what_requires_no_grad_an_iterable_does_not():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ZobenchError, match="no parameter may move in step 0: none requires grad; pass a Scope"):
        MeZO(model.named_parameters(), lr=1.0)
    before = model.weight.clone()
    MeZO(Scope(model.named_parameters()), lr=1.0).step(lambda: model(torch.ones(2)).sum())
    assert not torch.equal(before, model.weight)


def test_settings_are_typed_and_ranged():
    class Method(MeZO):
        n: Count = 4
        mode: str = "a"

    opt = Method([nn.Parameter(torch.zeros(1))], lr=1.0, eps="1e-2", n=2)
    assert (opt.eps, opt.n, opt.mode) == (0.01, 2, "a")
    for given, says in (
        ({"epss": 1}, "unknown setting of Method 'epss'; did you mean 'eps'"),
        ({"eps": -1.0}, "Method.eps=-1.0: must be above 0"),
        ({"n": 0}, "must be at least 1"),
    ):
        with pytest.raises(ZobenchError, match=says):
            Method([nn.Parameter(torch.zeros(1))], lr=1.0, **given)
    for given, says in (
        ({"engine": "flatt"}, "unknown engine 'flatt'; did you mean 'flat'"),
        ({"engine": "auto"}, "chosen by the run"),
        ({"restore": "exactly"}, "did you mean 'exact'"),
        ({"precision": "float16"}, "did you mean 'float32'"),
        ({"engine": "official", "precision": "float32"}, "official knows precision native only"),
        ({"lr": -1.0}, "neither may be negative"),
        ({"weight_decay": -0.1}, "neither may be negative"),
    ):
        with pytest.raises(ZobenchError, match=says):
            MeZO([nn.Parameter(torch.zeros(1))], **{"lr": 1.0, **given})
    assert Positive is not None


def test_forwards_are_counted():
    class Busy(Estimator):
        def iterate(self, losses):
            losses.base()
            losses.slope(self.noise(), 1e-3)
            losses.fresh().slope(self.noise(), 1e-3)

    run = Run(Busy)
    run.go(3)
    assert run.opt.forwards == {"train": 9, "extra": 6}
    assert run.opt.forwards["backward"] == 0

    class Gradient(Estimator):
        def iterate(self, losses):
            losses.base()
            loss, g = losses.gradient()
            self.descend(g)
            return loss

    run = Run(Gradient)
    run.go(3)
    assert run.opt.forwards == {"train": 6, "backward": 3}


def test_a_derivative_is_taken_along_what_has_one_number_a_tensor_too():
    """A look at such a direction moves every entry by it, and so does the derivative."""
    found = []

    class Shift(Estimator):
        def iterate(self, losses):
            one = self.buffer("one", init=1.0, shape=lambda p: ())
            plus, minus = losses(1e-4 * one, -1e-4 * one)
            found.append(((plus - minus) / 2e-4, losses.jvp(one)[1]))

    Run(Shift).go(1)
    ((near, exact),) = found
    assert float(near) == pytest.approx(float(exact), rel=1e-5) and abs(float(exact)) > 1e-3


def test_slope_jvp_and_gradient_agree():
    class Three(Estimator):
        def iterate(self, losses):
            z = self.noise()
            slope = losses.slope(z, 1e-5)
            loss, exact = losses.jvp(z)
            again, g = losses.gradient()
            dot = sum((a * b).sum() for _, a, b in self.each(g, z))
            assert float(loss) == pytest.approx(float(again), rel=1e-12)
            assert float(exact) == pytest.approx(float(dot), rel=1e-10)
            assert float(slope) == pytest.approx(float(dot), rel=1e-6)
            self.descend(g)

    run = Run(Three, lr=0.5)
    losses = run.go(30)
    assert losses[-1] < losses[0]
    assert run.opt.forwards == {"train": 5 * 30, "backward": 30}
    assert all(r.wide for r in run.opt.log)


def test_with_inputs_shows_the_rows_into_each_linear():
    class Inputs(Estimator):
        def iterate(self, losses):
            loss, x = losses.with_inputs(lambda p, rows: rows.T @ rows)
            assert [p.name for p in self.active if p in x] == [f"layers.{i}.weight" for i in range(3)]
            assert x[self.active[0]].shape == (6, 6)
            d = self.noise(on=lambda p: p in x) @ x + self.noise(on=lambda p: p not in x)
            (l1,) = losses(1e-4 * d)
            self.descend((l1 - loss) / 1e-4 * d)
            return loss

    run = Run(Inputs, lr=1e-6)
    run.go(2)
    assert run.opt.log[0].wide and run.opt.forwards == {"train": 4}


def test_what_a_plain_closure_cannot_do_is_said():
    class Wants(Estimator):
        def iterate(self, losses):
            losses.jvp(self.noise())

    with pytest.raises(TypeError, match=r"Wants needs objective.jvp\(...\), which a plain closure has not"):
        Run(Wants, plain=True).go(1)
    opt = MeZO([nn.Parameter(torch.zeros(2))], lr=1.0)
    with pytest.raises(TypeError, match=r"0-dim tensor, it returned a tensor of shape \(2,\)"):
        opt.step(lambda: torch.zeros(2))
    assert float(opt.step(lambda: 1.0)) == 1.0
    run = Run()
    objective = Objective(run.model, lambda f, b: f(b).sum(), torch.ones(1, 6))
    with pytest.raises(RuntimeError, match="no further batches"):
        objective.fresh()


@pytest.mark.parametrize(("engine", "restore"), MODES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_diverged_before_anything_moves(engine, restore, bad):
    run = Run(Adaptive, engine=engine, restore=restore)
    run.go(3)
    before, state = run.weights(), run.state()
    real, calls = run.objective(3), []

    def broken():
        calls.append(1)
        return real() * (bad if len(calls) == 2 else 1.0)

    with pytest.raises(Diverged, match=f"loss of step 3 is {bad}") as e:
        run.opt.step(broken)
    assert (e.value.step, str(e.value.loss)) == (3, str(bad))
    exact = run.opt.engine.restore == "exact"
    assert same(run.weights(), before) if exact else apart(run.weights(), before) < 1e-15
    assert all(torch.equal(a, b) for n in ("m", "h") for a, b in pairs(run.opt.state_dict(), state, n))
    assert run.opt.t == 3 and len(run.opt.log) == 3


def pairs(a, b, name):
    return [(a["buffers"][name][k], b["buffers"][name][k]) for k in b["buffers"][name]]


def test_the_finite_check_can_be_switched_off():
    run = Run(check_finite=False)
    run.opt.step(lambda: torch.tensor(float("nan")))
    assert not run.weights()["layers.0.weight"].isfinite().any()


def test_a_loss_may_be_a_plain_number():
    assert Run().opt.step(lambda: 0.1).item() == 0.1, "in double precision, as it was given"


def test_a_method_that_looks_at_nothing_is_a_mistake():
    class Nothing(Estimator):
        def iterate(self, losses):
            pass

    with pytest.raises(TypeError, match="looked at no loss"):
        Run(Nothing).go(1)
    with pytest.raises(NotImplementedError, match="Estimator has no iterate"):
        Run(Estimator).go(1)


def test_scopes_only_touch_what_they_name():
    for engine in ENGINES:
        run = Run(Adaptive, engine=engine, scope=layer(1))
        run.go(5)
        w = run.weights()
        for n in w:
            assert torch.equal(w[n], run.start[n]) == ("layers.1." not in n), (engine, n)


def test_no_cycle_keeps_tensors_alive():
    """Copies of the scope, buffers and masks go when the estimator goes, without the garbage collector."""
    gc.disable()
    try:
        for engine in ENGINES:
            run = Run(MeZO, engine=engine)
            run.opt.buffer("m").assign(run.opt.noise() / 2)
            run.go(2)
            held = [weakref.ref(t) for t in run.opt.buffers["m"].store.values()]
            held += [weakref.ref(run.opt), weakref.ref(run.opt.engine), weakref.ref(run.opt.handles[0])]
            del run
            assert all(r() is None for r in held), engine
    finally:
        gc.enable()


def test_descent_is_a_point_with_the_groups_lr():
    class Look(Estimator):
        def iterate(self, losses):
            z = self.noise()
            c = losses.slope(z, 1e-4)
            go = self.descent(c * z)
            for p, g, d in self.each(c * z, go):
                assert torch.allclose(d, -p.group["lr"] * g)
            (there,) = losses(go)
            self.move(go)
            assert float(losses.base()) == pytest.approx(float(there), rel=1e-12)

    for engine in ENGINES:
        run = Run(Look, engine=engine)
        run.go(2)
        named = list(run.model.named_parameters())
        run.opt = Look([{"params": named[:2], "lr": 1e-1}, {"params": named[2:]}], lr=1e-3, engine=engine)
        run.go(2)
