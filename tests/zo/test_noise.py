"""Noise: seeds, independence of the scope, held draws."""

import numpy as np
import pytest
import torch
from torch import nn
from zo_kit import MeZO, Run, layer

from zobench import Estimator, ZobenchError


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


def drawn_of(method, steps):
    run = Run(method)
    run.go(steps)
    return run.opt.seen


def test_two_held_draws_need_labels():
    class Twice(Estimator):
        def iterate(self, losses):
            self.noise(every=5), self.noise(every=5)

    with pytest.raises(TypeError, match="two draws are held under the label 'z'"):
        Run(Twice).go(1)


def test_official_noise_refuses_a_jump_in_its_stream():
    opt = Run(noise="official").opt
    with pytest.raises(RuntimeError, match="one stream in scope order: layers.1.weight is tensor 2"):
        opt.noise().on(opt.active[2])


def test_names():
    with pytest.raises(ZobenchError, match="unknown noise 'oficial'; did you mean 'official'"):
        Run(noise="oficial")
    with pytest.raises(ZobenchError, match="official noise needs a seed from 0"):
        Run(noise="official", seed=-1)
