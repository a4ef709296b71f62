"""The algebra: formulas, values, shapes checked where they are written, and what it refuses."""

import weakref

import numpy as np
import pytest
import torch
from kits.toy_runs import MeZO, Run
from torch import nn

from zobench import Estimator, matrices, vectors


@pytest.fixture
def est():
    """An estimator in no step: layers 8x6, 8, 8x8, 8, 3x8, 3."""
    return Run(engine="pair").opt


def values(est, d):
    return {p.name: v for p, v in est.each(d)}


def test_values_follow_the_formula(est):
    z, h = est.noise(), est.buffer("h", init=4.0)
    (p, x) = next(iter(est.each(z)))
    assert torch.equal(values(est, 2 * z - z / 4)[p.name], 1.75 * x)
    assert torch.allclose(values(est, z / h.sqrt() + 1)[p.name], x / 2 + 1)
    assert torch.allclose(values(est, (1 / h) * z.square().sqrt())[p.name], x.abs() / 4)
    assert torch.equal(values(est, (-z).sign())[p.name], -x.sign())
    assert torch.equal(values(est, z.clamp(-0.5, h))[p.name], x.clamp(-0.5, 4.0))
    assert torch.equal(values(est, sum([z, z]))[p.name], 2 * x)
    assert torch.equal(values(est, z.map(lambda t: t.flip(0)))[p.name], x.flip(0))
    assert torch.allclose(values(est, 1 - z)[p.name], 1 - x)
    assert repr(2 * z / h).startswith("(2*z<gaussian,") and "/ h)" in repr(2 * z / h)


def test_a_mapped_closure_keeps_its_keyword_defaults(est):
    times = 2.0

    def scaled(x, *, by=3.0):
        return x * times * by

    z, p = est.noise(), est.active[0]
    assert torch.equal(z.map(scaled).on(p), z.on(p) * 6)


def test_scalars_of_every_kind_multiply(est):
    z = est.noise()
    p = est.active[0]
    for two in (2, 2.0, np.float32(2), np.float64(2), torch.tensor(2.0), torch.tensor(2.0, dtype=torch.float16)):
        assert torch.equal((two * z).on(p), (z * two).on(p))
        assert torch.equal((two * z).on(p), 2 * z.on(p))
        assert torch.equal((z / two).on(p), z.on(p) / 2)


def test_a_half_precision_loss_does_not_swallow_the_step(est):
    """eps - lr * g in float16 would be eps: coefficients are float64."""
    z, g = est.noise(), torch.tensor(3.0, dtype=torch.float16)
    (c,) = (1e-3 * z - 1e-7 * (g * z)).terms.values()
    assert c.dtype == torch.float64 and float(c) == pytest.approx(1e-3 - 3e-7, rel=1e-12)


def test_low_rank_directions(est):
    u = est.noise(shape=lambda p: (p.shape[0], 2), on=matrices)
    v = est.noise("rademacher", shape=lambda p: (p.shape[1], 2), on=matrices)
    d = u @ v.T + est.noise(on=vectors)
    got = values(est, d)
    assert got.keys() == {p.name for p in est.active}
    for p in filter(matrices, est.active):
        assert torch.allclose(got[p.name], u.on(p) @ v.on(p).T)
    assert set(v.on(est.active[0]).unique().tolist()) == {-1.0, 1.0}
    assert v.on(est.active[1]) is None


def test_shapes_are_checked_where_they_are_written(est):
    u = est.noise(shape=lambda p: (p.shape[0], 2), on=matrices)
    v = est.noise(shape=lambda p: (p.shape[1], 2), on=matrices)
    with pytest.raises(ValueError, match=r"@ .* does not fit: on layers.0.weight the shapes are \(8, 2\) and \(6, 2\)"):
        u @ v
    two, three = (est.buffer(f"stack of {n}", shape=lambda p, n=n: (n, 4, 4)) for n in (2, 3))
    with pytest.raises(
        ValueError, match=r"does not fit: on layers.0.weight the shapes are \(2, 4, 4\) and \(3, 4, 4\)"
    ):
        two @ three
    with pytest.raises(ValueError, match="does not fit: on layers.0.weight"):
        u * v
    with pytest.raises(ValueError, match="does not fit: on layers.0.weight"):
        u + est.noise()
    with pytest.raises(ValueError, match=r"T\(.*\) does not fit: on layers.0.bias the shapes are \(8,\)"):
        _ = est.noise().T
    with pytest.raises(ValueError, match=r"descend along .* it has shape \(8, 2\), the tensor \(8, 6\)"):
        est.descend(u)
    with pytest.raises(ValueError, match="move along"):
        est.move(u)
    with pytest.raises(ValueError, match=r"cannot assign .* to 'h'.*\(8, 2\), not \(8, 6\)"):
        est.buffer("h").assign(u)


def test_a_wrong_point_is_refused_before_a_forward():
    class Wrong(Estimator):
        def iterate(self, losses):
            losses(self.noise(shape=lambda p: (*p.shape, 2)))

    run = Run(Wrong)
    with pytest.raises(ValueError, match="look along"):
        run.go(1)
    assert not run.opt.forwards


def test_shapes_known_only_by_value_are_checked_when_computed():
    class Wrong(Estimator):
        def iterate(self, losses):
            losses(self.noise().map(lambda x: x.new_zeros(5)))

    for engine in ("flat", "pair"):
        with pytest.raises(ValueError, match=r"a displacement of layers.0.weight \(8, 6\) has shape \(5,\)"):
            Run(Wrong, engine=engine).go(1)


@pytest.mark.parametrize(
    ("write", "error", "says"),
    [
        (lambda s, z: bool(z), TypeError, "no truth value"),
        (lambda s, z: z == z, TypeError, "cannot be compared"),
        (lambda s, z: torch.norm(z), TypeError, r"torch\.norm got a lazy direction .*each"),
        (lambda s, z: torch.stack([z, z]), TypeError, "lazy direction"),
        (lambda s, z: z * torch.ones(3, 4), TypeError, r"tensor of shape \(3, 4\).*self\.compute"),
        (lambda s, z: torch.ones(3, 4) * z, TypeError, r"tensor of shape \(3, 4\).*self\.compute"),
        (lambda s, z: z + "1", TypeError, "cannot add to the direction .* with a str"),
        (lambda s, z: z @ torch.ones(6, 2), TypeError, "cannot multiply"),
        (
            lambda s, z: s.descend(torch.tensor(1.0)),
            TypeError,
            "can only descend along a direction such as g \\* z, got",
        ),
        (lambda s, z: s.noise("cauchy"), ValueError, "unknown noise kind 'cauchy'; known: gaussian, rademacher"),
        (lambda s, z: s.noise("gausian"), ValueError, "did you mean 'gaussian'"),
    ],
)
def test_mistakes_are_named(est, write, error, says):
    with pytest.raises(error, match=says):
        write(est, est.noise())


def test_errors_inside_an_operator_name_the_tensor_and_the_formula(est):
    d = est.noise().map(lambda x: x @ torch.ones(5, dtype=x.dtype))
    with pytest.raises(RuntimeError, match=r"while computing <lambda>\(.*\) for layers.0.weight \(8, 6\)"):
        d.on(est.active[0])


def test_losses_takes_points_only():
    class Wrong(Estimator):
        def iterate(self, losses):
            losses(losses.base())

    with pytest.raises(TypeError, match=r"displacements such as eps \* z, or 0; got Tensor"):
        Run(Wrong).go(1)


def test_shared_nodes_are_computed_once_and_freed():
    """A sum of n one-use directions holds two tensors at a time, not n."""
    drawn, alive, most = [], [0], [0]

    def count(x):
        drawn.append(1)
        return x.clone()

    est = Run(engine="pair").opt
    z = est.noise().map(count)
    (z * z + z.abs()).on(est.active[0])
    assert len(drawn) == 1

    def track(x):
        y = x.clone()
        alive[0] += 1
        most[0] = max(most[0], alive[0])
        weakref.finalize(y, lambda: alive.__setitem__(0, alive[0] - 1))
        return y

    total = sum(est.noise().map(track) for _ in range(10))
    total.on(est.active[0])
    assert most[0] <= 3


def test_buffers_hold_state_of_their_own(est):
    m, h = est.buffer("m"), est.buffer("h", init=2.0)
    assert est.buffer("m") is m
    m.assign(h)  # no alias: the two stay apart
    m[est.active[0]].add_(1)
    assert float(h[est.active[0]].max()) == 2.0
    m.assign(h.map(lambda x: x))  # nor through a function that returns what it got
    m[est.active[0]].add_(1)
    assert float(h[est.active[0]].max()) == 2.0
    s = est.buffer("s", shape=lambda p: ())
    s.assign(s + 3)
    assert s[est.active[0]].shape == () and torch.equal((s * m).on(est.active[0]), 3 * m[est.active[0]])
    m.assign(s)  # broadcasts into its own shape
    assert m[est.active[0]].shape == (8, 6) and float(m[est.active[0]].min()) == 3.0


def test_buffers_are_float32_for_half_weights():
    opt = Run(dtype=torch.float16).opt
    m = opt.buffer("m")
    m.assign(1e-6 * opt.noise())
    assert m[opt.active[0]].dtype == torch.float32


def test_frozen_values_do_not_follow(est):
    h = est.buffer("h", init=1.0)
    f = est.freeze(2 * h)
    g = est.freeze(h)
    h.assign(5 * h)
    p = est.active[0]
    assert float(f[p].max()) == 2.0 and float(g[p].max()) == 1.0
    with pytest.raises(KeyError, match="'t' has no value for layers.0.bias"):
        est.compute(lambda p: p.data, on=matrices)[est.active[1]]


class _Basis:
    """An orthonormal basis; counts how often it is computed."""

    calls = 0
    __name__ = "basis"

    def __call__(self, x):
        self.calls += 1
        return torch.linalg.qr(x).Q


def test_kept_results_are_a_cache_keyed_by_seed():
    basis, sizes = _Basis(), []

    class Subspace(MeZO):
        def iterate(self, losses):
            u = self.noise(shape=lambda p: (p.shape[0], 2), on=matrices, every=3, label="u").map(basis, keep=True)
            losses.base()
            first = {p.name: v.clone() for p, v in self.each(u)}
            assert all(torch.equal(v, first[p.name]) for p, v in self.each(u))
            sizes.append(self.state_bytes())

    Run(Subspace).go(4)
    assert basis.calls == 2 * 3  # three matrices, refreshed once
    assert sizes == [(8 + 8 + 3) * 2 * 8] * 4


def test_what_cannot_be_kept_is_refused(est):
    k = 2
    with pytest.raises(TypeError, match="without a closure"):
        est.noise().map(lambda x: x + k, keep=True)
    with pytest.raises(TypeError, match="seeded noise alone"):
        est.buffer("h").map(torch.sign, keep=True)


def test_no_parameter_needs_a_name():
    model = nn.Linear(3, 2)
    opt = MeZO(model.parameters(), lr=1e-2)
    assert [p.name for p in opt.handles] == ["p0", "p1"]
