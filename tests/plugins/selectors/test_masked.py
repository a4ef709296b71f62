"""Selectors of entries: with mezo they are the published sparse methods bit for bit, and any estimator takes them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from kits.drawing_kit import EPS
from kits.matrix import covering
from kits.reading_kit import Blocks, batch, draw, loss_at, objective, plus, slope
from zobench_plugins.estimators.sensitive_sparse import SensitiveSparse
from zobench_plugins.estimators.sparse_mezo import SparseMeZO
from zobench_plugins.learned.masks import learn_masks, write_masks
from zobench_plugins.selectors.masked import Inside

from zobench import Scope, ZobenchError, is_static, union
from zobench.directions.handle import Handle
from zobench.plugins.registry import load_plugins
from zobench.testing.attempt import same

PLUGINS = load_plugins(only="")


def context(model, seed=0):
    """What these selectors look at: three blocks, and everything."""

    def layers(*indices):
        return Scope([(n, p) for n, p in model.named_parameters() if any(f"layers.{i}." in n for i in indices)])

    return SimpleNamespace(
        everything=lambda: Scope(model.named_parameters()),
        layers=layers,
        blocks=[],
        seed=seed,
        note=lambda **facts: None,
        loaded=SimpleNamespace(model=model),
    )


def end(estimator, selector=None, steps=6, lr=1e-1, seed=0, weight_decay=0.0, engine="flat", of=None, **settings):
    """The weights after so many steps over what a selector chooses of the model; the estimator; the weights before."""
    model = Blocks()
    before = model.weights()
    scope = Scope(model.named_parameters())
    if selector is not None:
        scope = PLUGINS.selector(selector)(**(of or {})).select(context(model))
    cls = PLUGINS.estimator(estimator) if isinstance(estimator, str) else estimator
    opt = cls(scope, lr=lr, seed=seed, weight_decay=weight_decay, engine=engine, **settings)
    for k in range(steps):
        opt.step(objective(model, k))
    opt.settle()
    return model.weights(), opt, before


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "m.safetensors"
    model = Blocks()
    masks, facts = learn_masks(
        SimpleNamespace(model=model, name="blocks", revision="r1"), [objective(model, k) for k in range(3)], density=0.3
    )
    write_masks(path, masks, facts)
    return str(path)


@pytest.mark.parametrize(
    ("engine", "refresh", "vectors"),
    covering(
        ["flat", "deferred", "pair", "official"],
        ["mask", "never", "threshold"],
        ["masked", "dense", "fixed"],
        together=2,
    ),
)
def test_mezo_on_small_weights_is_sparse_mezo_bit_for_bit(engine, refresh, vectors):
    settings = {"sparsity": 0.6, "refresh": refresh, "vectors": vectors}
    box, _, before = end(SparseMeZO, engine=engine, **settings)
    ours, _, _ = end("mezo", "small_weights", engine=engine, of=settings)
    assert same(ours, box) and not same(ours, before)
    assert not same(ours, end("mezo", "small_weights", engine=engine, of={**settings, "sparsity": 0.3})[0])


def test_the_kinds_of_refresh_are_told_apart():
    ends = [end("mezo", "small_weights", lr=1.0, of={"refresh": r})[0] for r in ("mask", "never", "threshold")]
    assert not any(same(a, b) for i, a in enumerate(ends) for b in ends[:i])


@pytest.mark.parametrize("engine", ["flat", "deferred"])
def test_mezo_on_sensitive_weights_is_sensitive_sparse_bit_for_bit(engine, file):
    box, _, before = end(SensitiveSparse, engine=engine, masks=file)
    ours, opt, _ = end("mezo", "sensitive_weights", engine=engine, of={"masks": file})
    assert same(ours, box) and not same(ours, before)
    moved = sum(int((ours[n] != before[n]).sum()) for n in before)
    assert moved == opt.scope.numel() == round(0.3 * sum(w.numel() for w in before.values()))


def in_plain_torch(steps=6, lr=1e-1, decay=0.0):
    """The mask of the unperturbed weights in both looks and the move, by thresholds of the start; decay inside it."""
    theta = Blocks().weights()
    h = {n: w.abs().flatten().sort().values[max(1, round(0.25 * w.numel())) - 1] for n, w in theta.items()}
    for t in range(steps):
        m = {n: (w.abs() <= h[n]).double() for n, w in theta.items()}
        d = {n: m[n] * z for n, z in draw(theta, t).items()}
        c = slope(theta, d, batch(t), EPS)
        theta = {n: w - lr * (c * d[n] + decay * m[n] * w) for n, w in theta.items()}
    return theta


def test_the_step_and_its_decay_are_of_the_mask_of_the_unperturbed_weights():
    for decay in (0.0, 0.1):
        ours, _, _ = end("mezo", "small_weights", weight_decay=decay)
        want = in_plain_torch(decay=decay)
        assert max(float((ours[n] - want[n]).abs().max()) for n in want) < 1e-12
    assert float(loss_at(plus(want, 0, {}), batch(0))) > 0


@pytest.mark.parametrize("name", ["fzoo", "zo_adam", "zo_adamm", "zo_sgd_momentum", "hizoo", "mezo:lozo", "fzoo:tezo"])
def test_any_estimator_takes_them(name, file):
    for selector, of in (("small_weights", {"refresh": "never"}), ("sensitive_weights", {"masks": file})):
        after, opt, before = end(name, selector, lr=1e-3, of=of)
        masks = opt.scope.masks
        for n, w in after.items():
            still = w == before[n]
            assert bool(still[~masks[n]].all()) if n in masks else bool(still.all())
        assert any(bool((w != before[n]).any()) for n, w in after.items())


def test_they_are_taken_of_another_choice_and_add_to_one():
    model = Blocks()
    part = PLUGINS.selector("small_weights:layer:1")(refresh="never").select(context(model))
    assert {n for n, _ in part.named} == {"layers.1.w", "layers.1.b"} and part.numel() == 4 + 1
    both = PLUGINS.selector("layer:0+small_weights:layer:1")(**{"small_weights:layer:1.refresh": "never"})
    assert both.select(context(model)).numel() == 4 + 1 + 20
    following = PLUGINS.selector("small_weights")().select(context(model))
    assert not is_static(following) and following.numel() == sum(
        max(1, round(p.numel() / 4)) for p in model.parameters()
    )
    whole = union(Scope(model.named_parameters()), [following, context(model).layers(0)])
    assert {n for n, _ in whole.named} == {n for n, _ in model.named_parameters()}


def test_random_entries_are_of_the_seed_and_of_the_share():
    model = Blocks()
    make = PLUGINS.selector("sensitive_weights")
    a, b, other = (make(masks="random", density=0.5).select(context(model, seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a.masks[n], b.masks[n]) for n in a.masks)
    assert any(not torch.equal(a.masks[n], other.masks[n]) for n in a.masks)
    assert 0.3 < a.numel() / sum(p.numel() for p in model.parameters()) < 0.7


def test_what_cannot_be_is_refused():
    with pytest.raises(ZobenchError, match="set sensitive_weights.masks to a file"):
        PLUGINS.selector("sensitive_weights")().check(4)
    with pytest.raises(ZobenchError, match="what small_weights chooses changes with the step"):
        PLUGINS.selector("all_but:small_weights")().check(4)
    with pytest.raises(ZobenchError, match="leaves no entry of the scope"):
        PLUGINS.selector("sensitive_weights")(masks="random", density=1e-9).select(context(Blocks()))


def test_an_entry_moves_where_both_masks_let_it_and_the_mask_is_the_same_tensor_while_they_are():
    weights = {name: torch.zeros(4) for name in ("a", "b", "c")}
    theirs = {"a": torch.tensor([True, True, False, False]), "c": torch.tensor([True, False, True, False])}
    own = {"a": torch.tensor([True, False, True, False]), "b": torch.tensor([False, True, True, True])}
    inside = Inside(Scope(list(weights.items()), masks=theirs), own)
    assert [name for name, _ in inside.named] == ["a", "b"]
    a, b = (Handle(name, weights[name], {}) for name in ("a", "b"))
    assert inside.mask(a, 0).tolist() == [True, False, False, False]
    assert inside.mask(a, 1) is inside.mask(a, 0)
    assert torch.equal(inside.mask(b, 0), own["b"]), "the scope has none of it"


def test_a_mask_that_changes_with_the_step_is_followed():
    weight = torch.zeros(3)

    class Turning(Scope):
        def mask(self, p, step):
            return torch.arange(3) == step

    inside = Inside(Turning([("a", weight)]), {"a": torch.tensor([True, False, True])})
    found = [inside.mask(Handle("a", weight, {}), step).tolist() for step in range(3)]
    assert found == [[True, False, False], [False] * 3, [False, False, True]]
