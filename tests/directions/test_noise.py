"""Noise: seeds, independence of the scope, held draws."""

import numpy as np
import pytest
import torch
from kits.toy_runs import MeZO, Run, layer
from torch import nn

from zobench import Estimator, Scope, ZobenchError
from zobench.directions import together
from zobench.directions.handle import Handle
from zobench.directions.noise import philox
from zobench.directions.noise.source import RECALLED


class Draws(Estimator):
    """Keeps what it drew in each step."""

    def setup(self):
        self.seen = []

    def iterate(self, losses):
        z = self.noise()
        losses.base()
        self.seen.append({p.name: x.clone() for p, x in self.each(z)})


def drawn(steps=1, **kw):
    run = Run(Draws, **kw)
    run.go(steps)
    return run.opt.seen


def test_a_smaller_scope_keeps_the_z_of_what_stays():
    full, part = drawn()[0], drawn(scope=layer(1))[0]
    assert part.keys() == {"layers.1.weight", "layers.1.bias"}
    assert all(torch.equal(part[n], full[n]) for n in part)


def test_official_noise_depends_on_the_scope_as_in_mezo():
    full, part = drawn(noise="official")[0], drawn(noise="official", scope=layer(1))[0]
    assert not torch.equal(part["layers.1.weight"], full["layers.1.weight"])


def test_official_noise_is_one_torch_stream_of_numpy_seeds():
    z = drawn(steps=3, noise="official", seed=42)[2]
    rng = np.random.RandomState(42)
    torch.manual_seed([int(rng.randint(1_000_000_000)) for _ in range(3)][2])
    for n, x in z.items():
        assert torch.equal(x, torch.normal(mean=0, std=1, size=x.size(), dtype=x.dtype)), n


def test_all_dtypes_and_steps_see_their_own_or_the_same_z():
    a, b = drawn(steps=2, dtype=torch.float64), drawn(steps=2, dtype=torch.float16)
    assert all(torch.equal(a[0][n].float(), b[0][n]) for n in a[0])  # the weights' dtype does not change z
    assert not torch.equal(a[0]["layers.0.weight"], a[1]["layers.0.weight"])
    assert not torch.equal(a[0]["layers.0.bias"], a[0]["layers.1.bias"])
    assert not torch.equal(a[0]["layers.0.weight"], drawn(seed=1)[0]["layers.0.weight"])


def test_moments():
    opt = MeZO([("w", nn.Parameter(torch.zeros(200, 500)))], lr=1.0)
    for kind, fourth in (("gaussian", 3.0), ("rademacher", 1.0)):
        z = opt.noise(kind).on(opt.active[0]).double()
        assert abs(float(z.mean())) < 5 / 100_000**0.5
        assert abs(float(z.square().mean()) - 1) < 5 * (fourth - 1 + 1e-9) ** 0.5 / 100_000**0.5
        assert abs(float(z.pow(4).mean()) - fourth) < 0.2


def test_step_seeds_have_63_bits_and_do_not_repeat():
    source = MeZO([nn.Parameter(torch.zeros(1))], lr=1.0).source
    seeds = [source.step_seed(t) for t in range(50_000)]
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) < 2**63 and sum(s >= 2**62 for s in seeds) > 20_000


def test_draws_within_a_step_differ():
    opt = Run().opt
    p = opt.active[0]
    a, b, c = opt.noise(), opt.noise(), opt.noise("rademacher")
    assert len({repr(d) for d in (a, b, c)}) == 3
    assert not torch.equal(a.on(p), b.on(p))


def test_held_noise_changes_every_k_steps_and_survives_a_change_of_scope():
    class Held(Draws):
        def iterate(self, losses):
            v = self.noise(every=2, label="v")
            losses.base()
            self.seen.append(v.on(self.handles[0]).clone())

    a, b, c, d, e = drawn_of(Held, 5)
    assert torch.equal(a, b) and torch.equal(c, d)
    assert not torch.equal(b, c) and not torch.equal(d, e)


def drawn_of(method, steps, **kw):
    run = Run(method, **kw)
    run.go(steps)
    return run.opt.seen


def test_two_held_draws_need_labels():
    class Twice(Estimator):
        def iterate(self, losses):
            self.noise(every=5), self.noise(every=5)

    with pytest.raises(TypeError, match="two draws are held under the label 'z'"):
        Run(Twice).go(1)


class Window(Draws):
    """Draws its own z, then those of the two steps before again."""

    def iterate(self, losses):
        z = self.noise()
        losses.base()
        other = self.noise()  # further draws of a step do not stand in the way
        again = [self.noise(ago=k) for k in range(1, min(2, self.t) + 1)]
        seen = [{p.name: x.clone() for p, x in self.each(d)} for d in (z, *again)]
        assert repr(other) != repr(z)
        self.seen.append(seen)


@pytest.mark.parametrize("noise", ["per_tensor", "official"])
def test_draws_of_earlier_steps_can_be_had_again(noise):
    plain = drawn(steps=5, noise=noise)
    for t, seen in enumerate(drawn_of(Window, 5, noise=noise)):
        assert len(seen) == min(t, 2) + 1
        for k, z in enumerate(seen):
            assert z.keys() == plain[t - k].keys() and all(torch.equal(z[n], plain[t - k][n]) for n in z)


@pytest.mark.parametrize("noise", ["per_tensor", "official"])
def test_earlier_draws_survive_an_interruption(noise):
    whole, first, second = Run(Window, noise=noise), Run(Window, noise=noise), Run(Window, noise=noise)
    whole.go(5)
    first.go(3)
    second.opt.load_state_dict(first.opt.state_dict())
    second.go(2)
    for a, b in zip(whole.opt.seen[3:], second.opt.seen, strict=True):
        assert all(torch.equal(a[k][n], b[k][n]) for k in range(3) for n in a[k])


class Alternating(Scope):
    def active(self, step):
        return lambda name: f"layers.{step % 2}." in name or "layers.2" in name


def test_earlier_draws_are_of_the_tensors_that_moved_then():
    seen = drawn_of(Window, 3, scope=Alternating)[2]
    assert {n[:8] for n in seen[0]} == {"layers.0", "layers.2"} == {n[:8] for n in seen[2]}
    assert {n[:8] for n in seen[1]} == {"layers.2"}
    with pytest.raises(ZobenchError, match="Window needs the draws of earlier steps, which official noise cannot"):
        drawn_of(Window, 2, scope=Alternating, noise="official")


@pytest.mark.parametrize("ago", [-1, 1, 100])
def test_there_is_no_draw_before_the_first_step(ago):
    with pytest.raises(ValueError, match=rf"ago={ago}\) in step 0: from 1 to 0"):
        Run().opt.noise(ago=ago)


def test_draws_can_be_had_again_for_so_many_steps():
    opt = Run().opt
    opt._keep(t=RECALLED + 10)
    assert f",{opt.source.step_seed(10)}>" in repr(opt.noise(ago=RECALLED))
    with pytest.raises(ValueError, match=f"from 1 to {RECALLED} steps back"):
        opt.noise(ago=RECALLED + 1)


def test_official_noise_refuses_a_jump_in_its_stream():
    opt = Run(noise="official").opt
    with pytest.raises(RuntimeError, match="one stream in scope order: layers.1.weight is tensor 2"):
        opt.noise().on(opt.active[2])


def test_names():
    with pytest.raises(ZobenchError, match="unknown noise 'oficial'; did you mean 'official'"):
        Run(noise="oficial")
    with pytest.raises(ZobenchError, match="official noise needs a seed from 0"):
        Run(noise="official", seed=-1)
    assert Run(noise="official", seed=2**32 - 1).opt.seed == 2**32 - 1


def test_runs_are_of_small_neighbours_of_one_dtype_and_group_without_masks():
    group = {}

    def handles(*sizes, dtypes=None, groups=None, masked=()):
        made = []
        for k, size in enumerate(sizes):
            of = torch.zeros(size, dtype=(dtypes or {}).get(k, torch.float32))
            made.append(Handle(f"{k}", of, (groups or {}).get(k, group), k))
            made[-1].mask = of.bool() if k in masked else None
        return made

    def runs(most, *sizes, **more):
        return ["".join(p.name for p in run) for run in together.runs(handles(*sizes, **more), most)]

    assert runs(10, 3, 3, 4, 1, 9) == ["012", "34"], "no more entries than that"
    assert runs(10, 3, 11, 3) == ["0", "1", "2"] and runs(0, 1, 1) == ["0", "1"] and runs(10) == []
    assert runs(10, 1, 1, 1, masked=(1,)) == ["0", "1", "2"]
    assert runs(10, 1, 1, 1, 1, dtypes={2: torch.float16, 3: torch.float16}) == ["01", "23"]
    assert runs(10, 1, 1, 1, groups={1: {}}) == ["0", "1", "2"]


def test_tensors_of_a_group_begin_at_multiples_of_four():
    group = philox.Group()
    for name, shape in (("a", (3,)), ("b", (2, 3)), ("c", (4,)), ("d", ())):
        group.add(name, shape)
    assert group.begins == {"a": (0, (3,)), "b": (4, (2, 3)), "c": (12, (4,)), "d": (16, ())} and group.size == 20


class KeepsWide(MeZO):
    """Its buffer begins as a function says, and is assigned to before anything has read it."""

    rows: int = 0

    def setup(self):
        self.h = self.buffer("h", init=lambda p: torch.zeros(p.shape, dtype=torch.float16))

    def iterate(self, losses):
        self.h.assign(self.noise(shape=lambda p: (3, *p.shape)) if self.rows else self.noise())
        return super().iterate(losses)


def test_a_buffer_has_the_shape_and_dtype_of_its_first_values_from_the_first_assignment_on():
    run = Run(KeepsWide)
    run.go(1)
    assert {x.dtype for x in run.opt.h.store.values()} == {torch.float16}
    with pytest.raises(ValueError, match="cannot assign .* to 'h': on .* it has shape"):
        Run(KeepsWide, rows=1).go(1)
