"""Noise is drawn once a step where it fits: the same bits, within the bound, gone when the step is."""

import gc
import weakref

import pytest
import torch
from kits.matrix import covering
from kits.toy_runs import Adaptive, MeZO, Run, apart, same

from zobench import Estimator, Handle, matrices
from zobench.directions import piecewise, together
from zobench.engine import build
from zobench.engine.base import DRAWN_BYTES, DRAWN_BYTES_OF_A_GPU
from zobench.plugins.registry import load_plugins

KEEPING = [
    ("flat", "exact"),
    ("flat", "arithmetic"),
    ("deferred", "exact"),
    ("deferred", "arithmetic"),
    ("pair", "exact"),
]
SIZE = 6 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3  # entries of the small model
TENSORS = 6


class Two(Estimator):
    """Looks along two directions."""

    def iterate(self, losses):
        y, z = self.noise(), self.noise()
        a, b, c = losses(1e-3 * y, 1e-3 * z, 1e-3 * (y + z))
        self.descend((a - b) * y + (c - b) * z)


def bounded(limit, method=MeZO, **kw):
    run = Run(method, **{"dtype": torch.float32, **kw})
    if limit is not None:
        run.opt.engine.drawn_bytes = limit
    return run


def draws(run, monkeypatch):
    """The tensors that are drawn from here on, as (seed, name)."""
    seen, source = [], run.opt.source
    original = source.draw
    monkeypatch.setattr(source, "draw", lambda seed, *a, **k: seen.append((seed, a[1].name)) or original(seed, *a, **k))
    return seen


@pytest.mark.parametrize(("mode", "noise"), covering(KEEPING, ["per_tensor", "official"]))
def test_once_a_step(mode, noise, monkeypatch):
    """Without: flat draws for +, - and the update, pair for both looks together and the update."""
    engine, restore = mode
    for limit, sweeps in ((None, 1), (0, 2 if engine == "pair" else 3)):
        run = bounded(limit, engine=engine, restore=restore, noise=noise)
        seen = draws(run, monkeypatch)
        run.go(1)
        run.opt.settle()
        if engine == "deferred":  # what is owed after a step is drawn when it is paid
            sweeps = 2 if limit is None else 3
        assert len(seen) == sweeps * TENSORS and len(set(seen)) == TENSORS


def test_the_official_engine_draws_as_mezo_does(monkeypatch):
    run = bounded(None, engine="official", noise="official")
    seen = draws(run, monkeypatch)
    run.go(2)
    assert len(seen) == 2 * 4 * TENSORS and run.opt.engine.drawn_bytes == 0


@pytest.mark.parametrize(
    ("mode", "noise", "method"), covering(KEEPING, ["per_tensor", "official"], [MeZO, Adaptive, Two], together=2)
)
def test_not_a_bit_changes(mode, noise, method):
    """Nothing kept, everything kept, and of two directions the first."""
    (engine, restore), made = mode, []
    for limit in (0, None, SIZE * 4):
        run = bounded(limit, method, engine=engine, restore=restore, noise=noise, weight_decay=0.01)
        made.append((run.go(5), run.weights(), run.state()["buffers"]))
    for losses, weights, buffers in made[1:]:
        assert losses == made[0][0] and same(weights, made[0][1])
        assert buffers.keys() == made[0][2].keys() and all(same(buffers[n], made[0][2][n]) for n in buffers)


@pytest.mark.parametrize(
    ("name", "dtype"),
    covering(["sparse_mezo", "lozo", "hizoo", "fzoo", "zo_adam"], [torch.float16, torch.bfloat16, torch.float64]),
)
def test_not_a_bit_changes_in_published_methods(name, dtype):
    cls, made = load_plugins().estimator(name), []
    for limit in (0, None):
        run = Run(cls, dtype=dtype, lr=1e-3)
        run.opt.engine.drawn_bytes = DRAWN_BYTES if limit is None else limit
        made.append((run.go(4), run.weights()))
    assert made[0][0] == made[1][0] and same(made[0][1], made[1][1])


def test_a_replay_is_the_run_bit_for_bit():
    run, again = bounded(None), bounded(0)
    run.go(5)
    again.opt.replay(run.opt.log)
    assert same(run.weights(), again.weights())


# ---- from step to step, and what is made of noise


class Remembers(Estimator):
    """Moves along the directions of this step and of two before, under a mask that is held."""

    def iterate(self, losses):
        z, mask = self.noise(), self.noise(every=10**6, label="mask").map(lambda x: (x > 0).to(x.dtype))
        a, b = losses(1e-3 * z, -1e-3 * z)
        older = [self.noise(ago=k) for k in range(1, min(3, self.t + 1))]
        self.descend((a - b) * mask * sum(older, z))
        return a


class Masked(Estimator):
    """Looks along a product of noise with a function of it."""

    def iterate(self, losses):
        d = self.noise(label="mask").map(lambda x: (x > 0).to(x.dtype)) * self.noise()
        a, b = losses(1e-3 * d, -1e-3 * d)
        self.descend((a - b) * d)
        return a


@pytest.mark.parametrize(("mode", "method"), covering(KEEPING, [Remembers, Masked]))
def test_not_a_bit_changes_by_what_is_kept_longer(mode, method):
    (engine, restore), made = mode, []
    for limit in (0, 2 * SIZE * 4, None):
        run = bounded(limit, method, engine=engine, restore=restore, weight_decay=0.01)
        made.append((run.go(5), run.weights()))
    for losses, weights in made[1:]:
        assert losses == made[0][0] and same(weights, made[0][1])


def test_what_is_asked_for_again_is_drawn_once(monkeypatch):
    """The mask in the first step alone, the directions of the last two steps in theirs."""
    run = bounded(None, Remembers)
    seen = draws(run, monkeypatch)
    run.go(4)
    assert len(seen) == len(set(seen)) == TENSORS * (4 + 1)
    assert 0 < run.opt.engine.drawn.nbytes() <= 4 * SIZE * 4  # three directions and the mask


@pytest.mark.parametrize(("limit", "each"), [(SIZE * 4, 4), (2 * SIZE * 4, 4), (4 * SIZE * 4, 1)])
def test_what_is_recalled_keeps_within_the_bound(limit, each, monkeypatch):
    """And gives way to the directions of the step; draws of the fourth step for each tensor."""
    run = bounded(limit, Remembers, restore="arithmetic")
    run.go(3)
    seen, held = draws(run, monkeypatch), []
    objective = run.objective(3)
    run.opt.step(lambda: (held.append(run.opt.engine.drawn.nbytes()), objective())[1])
    assert max(held) <= limit and len(seen) == each * TENSORS


@pytest.mark.parametrize("engine", ["flat", "pair", "deferred"])
def test_what_is_made_of_noise_is_computed_once_a_step(engine):
    calls = []

    class Counted(Masked):
        def iterate(self, losses):
            d = self.noise(label="mask").map(lambda x: (calls.append(1), x.abs())[1]) * self.noise()
            a, b = losses(1e-3 * d, -1e-3 * d)
            self.descend((a - b) * d)
            return a

    run = bounded(None, Counted, engine=engine)
    run.go(2)
    assert len(calls) == 2 * TENSORS


def test_what_reads_a_buffer_is_computed_anew():
    """It may change within a step."""

    class Follows(Estimator):
        def setup(self):
            self.m = self.buffer("m", init=1.0)

        def iterate(self, losses):
            d = self.m * self.noise()
            (a,) = losses(1e-2 * d)
            self.m.assign(2.0 * self.m)
            (b,) = losses(1e-2 * d)
            self.descend(a * d)
            return b - a

    run, bare = bounded(None, Follows), bounded(0, Follows)
    assert run.go(2) == bare.go(2) and same(run.weights(), bare.weights())
    assert all(run.go(1))


# ---- in pieces


@pytest.mark.parametrize(
    ("mode", "looks", "limit"),
    covering(
        [("flat", "native"), ("flat", "float32"), ("deferred", "native"), ("pair", "native")],
        [(MeZO, torch.float32), (Two, torch.bfloat16), (Two, torch.float64)],
        [0, DRAWN_BYTES],
        together=2,
    ),
)
def test_in_pieces_not_a_bit_changes(mode, looks, limit, monkeypatch):
    """Tensors of 48, 64 and 24 entries: all at once, and in pieces of which the last has 16 to 24."""
    (engine, precision), (method, dtype) = mode, looks
    made, passed = [], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    onto = piecewise.Piecewise.onto
    monkeypatch.setattr(piecewise.Piecewise, "onto", lambda v, *to: passed.append(v) or onto(v, *to))
    for size in (piecewise.PIECE, 16, 32):
        monkeypatch.setattr(piecewise, "PIECE", size)
        run = bounded(limit, method, dtype=dtype, engine=engine, precision=precision, weight_decay=0.01)
        run.opt.engine.entries_together = together.MOST if size >= 64 else 0
        made.append((run.go(3), run.weights()))
        assert bool(passed) == (size < 64 and (engine, limit) != ("pair", 0))  # which looks at two points at once
    for losses, weights in made[1:]:
        assert losses == made[0][0] and same(weights, made[0][1])


# ---- the bound


@pytest.mark.parametrize(
    ("limit", "kept"), [(SIZE * 4 - 1, 0), (SIZE * 4, 1), (2 * SIZE * 4 - 1, 1), (2 * SIZE * 4, 2)]
)
def test_a_direction_is_kept_whole_or_not_at_all(limit, kept, monkeypatch):
    """Of two directions, each looked at alone, together, and moved along."""
    run = bounded(limit, Two)
    seen, held = draws(run, monkeypatch), []
    objective = run.objective(0)
    run.opt.step(lambda: (held.append(run.opt.engine.drawn.nbytes()), objective())[1])
    assert max(held) == kept * SIZE * 4 <= limit
    assert len(seen) == TENSORS * (kept + 3 * (2 - kept))


def test_what_is_held_counts_it(monkeypatch):
    run, held = bounded(None, restore="arithmetic"), []
    objective = run.objective(0)
    run.opt.step(lambda: (held.append(run.opt.engine.held_bytes()), objective())[1])
    assert held == [SIZE * 4] * 2 and run.opt.engine.held_bytes() == 0


def test_accelerators_keep_less():
    engine = build("flat")
    group = {"lr": 1.0, "weight_decay": 0.0}
    for device, room in (("cpu", DRAWN_BYTES), ("meta", DRAWN_BYTES_OF_A_GPU)):
        handle = Handle("w", torch.empty(3, device=device), group)
        engine.attach([handle])
        assert engine.drawn.room == room


# ---- gone when the step is


class Fails(MeZO):
    def iterate(self, losses):
        z = self.noise()
        losses(1e-3 * z)
        raise KeyError("in the middle")


@pytest.mark.parametrize(("mode", "method"), covering(KEEPING, [MeZO, Fails]))
def test_freed_when_the_step_ends(mode, method, monkeypatch):
    engine, restore = mode
    run, alive = bounded(None, method, engine=engine, restore=restore), []
    original = run.opt.source.draw

    def noted(*a, **k):
        z = original(*a, **k)
        alive.append(weakref.ref(z))
        return z

    monkeypatch.setattr(run.opt.source, "draw", noted)
    if method is Fails:
        with pytest.raises(KeyError, match="in the middle"):
            run.go(1)
    else:
        run.go(1)
    gc.collect()
    assert len(alive) == TENSORS and not any(ref() is not None for ref in alive)
    assert run.opt.engine.drawn.nbytes() == 0
    assert method is MeZO or apart(run.weights(), run.start) <= (0 if restore == "exact" else 1e-6)


def test_outside_a_step_nothing_is_kept():
    run = bounded(None)
    run.go(1)
    assert [z for _, z in run.opt.each(run.opt.noise())] and run.opt.engine.drawn.nbytes() == 0


# ---- what an author may do to it


class Spoils(Estimator):
    """Changes in place what it was given; `how` says where."""

    how: str = "nothing"

    def iterate(self, losses):
        z, y = self.noise(), self.noise(on=matrices)
        loss = losses.slope(z + y, 1e-3)
        if self.how == "each":
            for _, value in self.each(z):
                value.zero_()
        elif self.how == "each, transposed":
            for _, value in self.each(y.T):
                value.zero_()
        elif self.how == "map":  # against its contract
            self.freeze(z.map(torch.Tensor.zero_))
        elif self.how == "assign":
            m = self.buffer("m")
            m.assign(z)
            m.assign(z)
            for p in self.active:
                m[p].zero_()
        elif self.how == "freeze":
            held = self.freeze(z)
            for p in self.active:
                held[p].zero_()
        self.descend(loss * (z + y))
        return loss


@pytest.mark.parametrize("how", ["each", "each, transposed", "map", "assign", "freeze"])
def test_a_value_changed_in_place_spoils_no_direction(how):
    plain, spoilt = bounded(None, Spoils), bounded(None, Spoils, how=how)
    plain.go(3)
    spoilt.go(3)
    assert same(plain.weights(), spoilt.weights())


def test_in_inference_mode():
    """Such tensors count no changes: they are drawn anew."""
    plain, run = bounded(None), bounded(None)
    plain.go(2)
    with torch.inference_mode():
        run.go(2)
    assert same(plain.weights(), run.weights())
