"""Engines never change the mathematics: they agree, restore exactly where they say so, and undo what fails."""

from types import SimpleNamespace

import pytest
import torch
from kits.matrix import covering
from kits.toy_runs import MODES, Adaptive, Breaks, MeZO, Run, apart, same
from torch import nn

from zobench import Estimator, ZobenchError
from zobench.directions.algebra import ZERO
from zobench.directions.handle import Handle
from zobench.directions.noise.source import OfficialStream
from zobench.engine import ENGINES, Pair, build, choose
from zobench.engine.base import decays
from zobench.engine.flat import Flat
from zobench.engine.theta import Held


@pytest.mark.parametrize(
    ("method", "batched", "noise"), covering([MeZO, Adaptive], [True, False], ["per_tensor", "official"], together=2)
)
def test_engines_agree_in_float64(method, batched, noise):
    weights, losses = [], []
    for engine, restore in MODES:
        run = Run(method, engine=engine, restore=restore, batched=batched, noise=noise, weight_decay=0.01)
        losses.append(run.go(8))
        weights.append(run.weights())
    assert max(apart(weights[0], w) for w in weights) < 1e-11
    assert all(a == pytest.approx(b, abs=1e-12) for run in losses for a, b in zip(run, losses[0], strict=True))


@pytest.mark.parametrize("plain", [True, False])
def test_deferred_is_flat_bit_for_bit_when_exact(plain):
    """The same roundings in another order of sweeps."""
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (Run(engine=e, dtype=dtype, plain=plain) for e in ("flat", "deferred"))
        assert a.go(6) == b.go(6)
        assert same(a.weights(), b.weights())


def test_sweeps():
    """What ten steps cost: flat 3 a step, deferred 2, official 4, pair 1 for its copies and 1 to move, streamed 1."""
    for engine, want in (("flat", 30), ("deferred", 20), ("official", 40), ("official_fused", 40), ("pair", 20),
                         ("streamed", 10)):  # fmt: skip
        run = Run(engine=engine, batched=True)
        run.go(10)
        assert run.opt.engine.sweeps == want, engine


class Looks(Estimator):
    """Looks about and does not move; notes the weights it stands on."""

    def iterate(self, losses):
        z = self.noise()
        losses(1e-3 * z, 0, -1e-3 * z, 0.5 * z)
        part = self.noise(on=lambda p: "layers.1" in p.name)
        losses(part, 2 * part)
        losses(1e-3 * z * z, 1e-3 * z.sign())


@pytest.mark.parametrize(
    ("engine", "precision", "dtype"),
    covering(
        ["flat", "deferred", "pair", "streamed"],
        ["native", "float32"],
        [torch.float64, torch.float32, torch.float16, torch.bfloat16],
        together=2,
    ),
)
def test_exact_restore_is_exact(engine, precision, dtype):
    run = Run(Looks, engine=engine, precision=precision, dtype=dtype, batched=engine == "streamed")
    run.go(5)
    assert same(run.weights(), run.start)


def test_arithmetic_restore_drifts_as_mezos_does():
    for engine in ("flat", "official"):
        run = Run(Looks, engine=engine, restore="arithmetic", dtype=torch.float16)
        run.go(5)
        assert run.opt.engine.restore == "arithmetic"
        assert not same(run.weights(), run.start) and apart(run.weights(), run.start) < 0.05


@pytest.mark.parametrize("engine", ["flat", "deferred", "pair", "streamed"])
def test_float32_masters_keep_small_updates(engine):
    """50 moves of a fortieth of an ulp each: lost in bfloat16, kept in the master."""

    class Creep(Estimator):
        def iterate(self, losses):
            losses(1e-3 * self.noise())
            self.move(2e-4 * self.noise().abs().map(torch.ones_like))

    def run(precision):
        w = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
        opt = Creep([("w", w)], lr=1.0, engine=engine, precision=precision)
        for _ in range(50):
            opt.step(lambda: torch.tensor(0.0))
        opt.settle()
        return float(w.detach()[0]), opt

    assert run("native")[0] == 1.0
    value, opt = run("float32")
    assert value == pytest.approx(1.01, abs=0.004)
    assert opt.active[0].data.dtype == torch.float32 and float(opt.active[0].data[0]) == pytest.approx(1.01, rel=1e-4)
    assert opt.engine.held_bytes() == 16


@pytest.mark.parametrize("engine", ["flat", "deferred", "pair"])
@pytest.mark.parametrize("precision", ["native", "float32"])
def test_weights_changed_from_outside_between_steps_are_seen(engine, precision):
    """A checkpoint loaded, a copy written: copies and masters of the engine must not bring the old weights back."""
    run = Run(engine=engine, precision=precision, dtype=torch.bfloat16)
    run.go(3)
    run.opt.settle()
    zeros = {n: torch.zeros_like(p) for n, p in run.model.named_parameters()}
    run.model.load_state_dict(zeros)
    assert float(run.opt.active[0].data.abs().max()) == 0 or precision == "float32"
    run.opt.step(lambda: torch.tensor(1.0))  # equal losses: no move
    assert same(run.weights(), zeros)


def test_a_model_that_becomes_wider_between_steps_is_restored_to_its_last_bit():
    run = Run(Looks, engine="flat", dtype=torch.float32)
    run.go(1)
    run.opt.settle()
    run.dtype = torch.float64
    with torch.no_grad():
        for p in run.model.double().parameters():
            p += 1e-12
    wider = {n: p.detach().clone() for n, p in run.model.named_parameters()}
    run.go(1)
    assert same(run.weights(), wider)


def test_a_float32_model_needs_no_master():
    run = Run(precision="float32", dtype=torch.float32)
    run.go(2)
    assert all(p.master is None for p in run.opt.handles)


@pytest.mark.parametrize(("engine", "restore"), MODES)
def test_an_error_in_the_middle_of_a_sweep_is_undone(engine, restore):
    for where in ("look", "move"):
        run = Run(Breaks, engine=engine, restore=restore)
        run.go(2)
        before = run.weights()
        run.opt.bad, run.opt.where = True, where
        with pytest.raises(RuntimeError, match="while computing fail.*layers.0.bias.*broken"):
            run.go(1)
        holds_copy = where == "look" or engine not in ("pair", "streamed")
        exact = run.opt.engine.restore == "exact" and holds_copy
        after = {n: p.detach() for n, p in run.model.named_parameters()}
        assert same(after, before) if exact else apart(after, before) < 1e-14, where
        run.opt.bad = False
        run.go(1)
        assert run.opt.t == 3


@pytest.mark.parametrize(("engine", "restore"), MODES)
def test_an_error_in_the_closure_leaves_theta(engine, restore):
    run = Run(engine=engine, restore=restore)
    run.go(2)
    before, calls = run.weights(), []

    def closure():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return torch.tensor(1.0)

    with pytest.raises(KeyboardInterrupt):
        run.opt.step(closure)
    after = {n: p.detach() for n, p in run.model.named_parameters()}
    assert same(after, before) if run.opt.engine.restore == "exact" else apart(after, before) < 1e-14


def test_official_makes_mezos_very_operations():
    """The chain of p.data = p.data + (s * z) * eps and the update, op for op, in half precision."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        run = Run(engine="official", noise="official", dtype=dtype, weight_decay=0.1, lr=1e-2, seed=3)
        run.go(1)
        record, eps, lr = run.opt.log[0], 1e-3, 1e-2
        g = ((record.seen[0] - record.seen[1]) / (2 * eps)).item()
        want = {n: p.clone() for n, p in run.start.items()}
        for s in (1, -2, 1):
            torch.manual_seed(record.seed)
            for n, p in want.items():
                z = torch.normal(mean=0, std=1, size=p.size(), dtype=p.dtype)
                want[n] = p + s * z * eps
        torch.manual_seed(record.seed)
        for n, p in want.items():
            z = torch.normal(mean=0, std=1, size=p.size(), dtype=p.dtype)
            want[n] = p - lr * (g * z) if "bias" in n else p - lr * (g * z + 0.1 * p)
        assert same(run.weights(), want), dtype


@pytest.mark.parametrize(
    ("method", "dtype", "weight_decay", "noise"),
    covering(
        [MeZO, Adaptive],
        [torch.float16, torch.bfloat16, torch.float32],
        [0.0, 0.1],
        ["official", "per_tensor"],
        together=2,
    ),
)
def test_official_fused_has_the_bits_of_official(method, dtype, weight_decay, noise):
    runs = {}
    for engine in ("official", "official_fused"):
        run = runs[engine] = Run(
            method, engine=engine, noise=noise, dtype=dtype, weight_decay=weight_decay, lr=1e-3, seed=3
        )
        run.go(10)
    assert same(runs["official"].weights(), runs["official_fused"].weights())
    assert not same(runs["official"].weights(), runs["official"].start)
    for one, other in zip(runs["official"].opt.log, runs["official_fused"].opt.log, strict=True):
        assert [float(x) for x in one.seen] == [float(x) for x in other.seen]


def test_official_fused_draws_once_and_moves_in_place(monkeypatch):
    drawn = []
    original = OfficialStream.draw
    monkeypatch.setattr(OfficialStream, "draw", lambda *a, **k: drawn.append(a[3].name) or original(*a, **k))
    run = Run(engine="official_fused", noise="official")
    places = {n: p.data_ptr() for n, p in run.model.named_parameters()}
    run.go(2)
    assert sorted(drawn) == sorted(2 * list(places))
    assert {n: p.data_ptr() for n, p in run.model.named_parameters()} == places


def test_pair_evaluates_all_points_of_a_call_together():
    run, calls = Run(Adaptive, engine="pair", batched=True), []

    class Counting:
        def __init__(self, inner):
            self.inner = inner

        def __call__(self):
            raise AssertionError("a pair asks for many")

        def many(self, points):
            calls.append(len(points))
            return self.inner.many(points)

    for t in range(3):
        run.opt.step(Counting(run.objective(t)))
    assert calls == [3, 3, 3]


def test_pair_shows_a_plain_closure_its_copies():
    run, seen = Run(engine="pair"), []
    own = {n: p.data_ptr() for n, p in run.model.named_parameters()}

    def closure():
        seen.append({n: p.data_ptr() for n, p in run.model.named_parameters()})
        return torch.tensor(1.0)

    run.opt.step(closure)
    assert all(s[n] != own[n] for s in seen for n in own)
    assert {n: p.data_ptr() for n, p in run.model.named_parameters()} == own


def test_held_bytes():
    size = sum(p.numel() for p in Run().model.parameters())
    for engine, restore, precision, want in (
        ("flat", "exact", "native", 2 * size),
        ("flat", "arithmetic", "native", 0),
        ("flat", "exact", "float32", 4 * size),
        ("pair", "exact", "native", 0),
        ("pair", "exact", "float32", 4 * size),
        ("streamed", "exact", "native", 0),
        ("streamed", "exact", "float32", 4 * size),
        ("official", "exact", "native", 0),
    ):
        run = Run(engine=engine, restore=restore, precision=precision, dtype=torch.bfloat16)
        run.go(1)
        assert run.opt.engine.held_bytes() == want, (engine, restore, precision)


@pytest.mark.parametrize(
    ("scope", "free_gib", "options", "chosen"),
    [
        # a block of 100 million, in a model of 1.6 thousand million: known answers, worked out by hand
        (100e6, 100, {}, ("pair", "exact")),
        (150e6, 100, {}, ("pair", "exact")),  # one and a half blocks are about one
        (151e6, 100, {}, ("flat", "exact")),
        (1500e6, 100, {}, ("flat", "exact")),
        (100e6, 100, {"layer_numel": 0}, ("pair", "exact")),  # unknown: a sixteenth of the model
        (151e6, 100, {"layer_numel": 0}, ("flat", "exact")),
        (100e6, 0.75, {}, ("pair", "exact")),  # two copies of 0.19 GiB in half of it
        (100e6, 0.74, {}, ("flat", "exact")),  # no room for two; one fits
        (100e6, 0.38, {}, ("flat", "exact")),
        (100e6, 0.37, {}, ("flat", "arithmetic")),  # nor for one
        (100e6, 1, {"points": 3}, ("flat", "exact")),  # 0.56 GiB
        (100e6, 1, {"itemsize": 4}, ("flat", "exact")),  # 0.75 GiB
        (100e6, 1.6, {"master": True}, ("pair", "exact")),  # 0.37 GiB of masters and 0.37 of copies
        (100e6, 1.4, {"master": True}, ("flat", "exact")),
        (100e6, 0.7, {"master": True}, ("flat", "arithmetic")),
        (100e6, 0.76, {"state": 2**24}, ("flat", "exact")),  # what the method keeps is not free
        (100e6, 1, {"state": 2**31}, ("flat", "arithmetic")),
    ],
)
def test_choose(scope, free_gib, options, chosen):
    given = {"layer_numel": 100_000_000, **options}
    choice = choose(int(scope), 1_600_000_000, int(free_gib * 2**30), **given)
    assert choice == chosen
    assert build(*choice).name == choice.engine


@pytest.mark.parametrize("most", [1, 2, 4])
def test_pair_looks_at_all_points_however_many_it_holds_at_a_time(most):
    run = Run(batched=True)
    points, objective = [0.01 * k * run.opt.noise() for k in range(1, 6)], run.objective(0)
    got, want = [], []
    for engine, out in ((Pair(most=most), got), (Pair(), want)):
        engine.attach(run.opt.active)
        out += engine.losses(objective, points)
    assert len(got) == 5 and torch.stack(got).tolist() == pytest.approx(torch.stack(want).tolist(), abs=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_groups_move_at_their_own_rates(engine):
    def run(name):
        made = Run(engine=name)
        named = list(made.model.named_parameters())
        groups = [{"params": named[:2], "lr": 1e-2}, {"params": named[2:], "lr": 1e-4}]
        made.opt = MeZO(groups, lr=1.0, engine=name, noise="per_tensor")
        made.go(3)
        return made.weights(), made.start

    (got, start), (want, _) = run(engine), run("pair")
    assert apart(got, want) < 1e-9
    assert apart(got, start) > 1e-4


def test_names():
    assert list(ENGINES) == ["official", "official_fused", "flat", "deferred", "pair", "streamed"]
    assert all(build(name).name == name for name in ENGINES)
    with pytest.raises(ZobenchError, match="unknown engine 'par'; did you mean 'pair'"):
        build("par")


def test_what_decays_is_mezos_rule():
    names = {"a.weight": True, "a.bias": False, "a.layer_norm.weight": False, "a.input_layernorm.weight": False}
    assert {name: decays(Handle(name, torch.zeros(1), {})) for name in names} == names


def test_flat_rests_where_it_neither_stands_displaced_nor_owes_a_move():
    engine, somewhere = Flat(), SimpleNamespace(terms={"z": 1.0})
    assert engine.at_rest
    for at, pending in ((somewhere, ZERO), (ZERO, somewhere), (somewhere, somewhere)):
        engine.at, engine.pending = at, pending
        assert not engine.at_rest


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moves_that_half_the_bits_would_lose_are_kept_in_a_float32_master(dtype):
    """A hundred moves of 1e-4 from 1: each is less than half a last bit."""
    for wide, arrives in ((True, 1.01), (False, 1.0)):
        p, held = Handle("w", nn.Parameter(torch.ones(3, dtype=dtype)), {}), Held(wide)
        held.refresh([p])
        with torch.no_grad():
            for _ in range(100):
                held.add(p, torch.full((3,), 1e-4))
                held.rest()
        assert torch.equal(p.param.detach(), torch.full((3,), arrives).to(dtype))
        assert held.nbytes() == (12 if wide else 0)
