"""Directions that any estimator takes: what equals the published method bit for bit, what is refused, what is kept."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from kits.drawing_kit import run
from kits.matrix import covering
from kits.reading_kit import Blocks, difference, objective
from torch import nn

from zobench import Directions, Draws, Estimator, Scope, ZobenchError
from zobench.plugins.along import build, canonical, parts
from zobench.plugins.registry import load_plugins
from zobench.run.along import of_settings
from zobench.run.wish import Wish
from zobench.testing.attempt import Case, same

PLUGINS = load_plugins(only="")
FAMILIES = PLUGINS.names("directions")


def end(name, steps=6, seed=0, dtype=torch.float64, **settings):
    """The weights after so many steps of this estimator."""
    model = Blocks().to(dtype)
    opt = PLUGINS.estimator(name)(Scope(model.named_parameters()), lr=1e-2, seed=seed, **settings)
    for k in range(steps):
        b = objective(model, k)
        b.batch = tuple(x.to(dtype) for x in b.batch)
        opt.step(b)
    opt.settle()
    return model.weights()


LOZO = {"rank": 1, "nu": 2}
SUBZERO = {"rank": 2, "interval": 2}


def of(settings):
    return {f"directions.{name}": value for name, value in settings.items()}


SAME = [
    ("lozo", LOZO, "mezo:lozo", of(LOZO)),
    ("subzero", SUBZERO, "mezo:subzero", of(SUBZERO)),
    ("subzero", {**SUBZERO, "scale": "paper"}, "mezo:subzero", of({**SUBZERO, "scale": "paper"})),
    ("mezo", {}, "mezo:gaussian", {}),
    ("n_spsa", {"q": 3}, "n_spsa:gaussian", {"q": 3}),
    ("fzoo", {}, "fzoo:rademacher", {}),
    ("zo_adamm", {}, "zo_adamm:sphere", {}),
    ("zo_adamm", {"direction": "gaussian"}, "zo_adamm:gaussian", {}),
    ("adamezo", {"h": 3}, "adamezo:gaussian", {"h": 3}),
]


@pytest.mark.parametrize(
    ("pair", "engine", "dtype"),
    covering(range(len(SAME)), ["flat", "deferred", "official"], [torch.float32, torch.float64]),
    ids=lambda x: SAME[x][0] if isinstance(x, int) else None,
)
def test_the_published_method_is_a_combination_bit_for_bit(pair, engine, dtype):
    box, its, combined, own = SAME[pair]
    published = end(box, engine=engine, dtype=dtype, **its)
    assert same(published, end(combined, engine=engine, dtype=dtype, **own))
    assert not same(published, end(combined, engine=engine, dtype=dtype, seed=1, **own))


def test_directions_that_are_given_are_as_long_as_their_family_makes_them():
    for name in ("r_adazo", "zo_adamm"):
        assert not same(end(name), end(f"{name}:gaussian")), "its own have length sqrt(d)"


@pytest.mark.parametrize("engine", ["flat", "pair"])
def test_agzo_that_looks_both_ways_is_mezo_along_its_directions(engine):
    box = Case(PLUGINS.estimator("agzo"), {"looks": "two_sided", "eps": 1e-3, "rank": 2}, engine, "mlp").run()
    ours = Case(PLUGINS.estimator("mezo:agzo"), {"eps": 1e-3, "directions.rank": 2}, engine, "mlp").run()
    assert same(box.weights(), ours.weights())
    assert dict(box.opt.forwards) == dict(ours.opt.forwards) == {"train": 7 * 3}
    many = Case(PLUGINS.estimator("n_spsa:agzo"), {"q": 3}, engine, "mlp").run()
    assert dict(many.opt.forwards) == {"train": 7 * 7}, "the forward that finds A is made once a step"


COMPOSE = sorted(
    name for name in PLUGINS.names("estimators") if (c := PLUGINS.estimator(name)).trains and not c.own_directions
)


RECALLS = ("adamezo", "mezo_svrg")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_estimator_that_looks_along_noise_takes_a_family(family):
    """By turns; those that look back take or refuse each, and all pay for a family whose directions cost forwards."""
    mine = set(COMPOSE[sorted(FAMILIES).index(family) :: len(FAMILIES)])
    if PLUGINS.directions(family).forwards_per_direction:
        mine = set(COMPOSE)
    assert_all_take(family, [name for name in COMPOSE if name in mine or name in RECALLS])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_estimator_that_looks_along_noise_takes_every_family(family):
    assert_all_take(family, COMPOSE)


def assert_all_take(family, names):
    refused = []
    for name in names:
        if PLUGINS.estimator(name).recalls and not PLUGINS.directions(family).recalled:
            with pytest.raises(ZobenchError, match=f"again, which {family} cannot: use other directions"):
                PLUGINS.estimator(f"{name}:{family}")
            refused.append(name)
            continue
        cls = PLUGINS.estimator(f"{name}:{family}")
        settings = {k: v for k, v in {**cls.needs, **cls.exercise}.items()}
        case = Case(cls, settings, "flat", "mlp")
        attempt = case.attempt()
        attempt.go(4)
        after = attempt.weights()
        assert all(bool(w.isfinite().all()) for w in after.values()), name
        assert not same(after, attempt.start), name
        if cls.forwards_per_step is not None and not cls.exercise:
            assert attempt.opt.forwards["train"] == 4 * cls.forwards_per_step, name
    assert refused == (list(RECALLS) if not PLUGINS.directions(family).recalled else [])


def test_who_does_not_say_that_it_looks_back_is_told_in_the_step():
    class Back(Estimator):
        def iterate(self, losses):
            z = self.noise(ago=1) if self.t else self.noise()
            self.descend(losses.slope(z, 1e-3) * z)

    made = build("back:guided", Back, PLUGINS.directions("guided"))
    with pytest.raises(ZobenchError, match="cannot draw again; choose other directions"):
        Case(made, {}, "flat", "mlp").attempt().go(2)


def test_what_has_directions_of_its_own_says_so():
    for name in sorted(set(PLUGINS.names("estimators")) - set(COMPOSE)):
        with pytest.raises(ZobenchError, match=f"estimator {name} takes no directions: "):
            PLUGINS.estimator(f"{name}:gaussian")


def moves(name, shape, steps=1, **settings):
    """What steps move a matrix by, one after the other, where the slope is 1 along every direction."""
    w = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    opt = PLUGINS.estimator(name)([("experts.w" if len(shape) == 3 else "w", w)], lr=1.0, engine="flat", **settings)
    out, seen = [], []

    def loss():
        seen.append(0)
        return torch.tensor(1e-3 if len(seen) % 2 else -1e-3, dtype=torch.float64)

    for _ in range(steps):
        before = w.detach().clone()
        opt.step(loss)
        opt.settle()
        out.append(w.detach() - before)
    return torch.stack(out)


@pytest.mark.parametrize(
    ("family", "square", "rank"),
    [("lozo", 2, 2), ("subzero", 1, 4), ("tezo", 3, 3), ("eggroll", 1, 1), ("gaussian", 1, 9), ("sphere", 1, 9)],
)
def test_ranks_and_lengths_of_directions(family, square, rank):
    own = {"lozo": {"rank": 2, "nu": 1}, "subzero": {"rank": 4, "interval": 1}, "tezo": {"rank": 3}}.get(family, {})
    found = moves(f"mezo:{family}", (9, 12), 60, **of(own))
    assert torch.linalg.matrix_rank(found).tolist() == [rank] * 60
    mean = square if family != "tezo" else None  # U and V are drawn once: their length does not average out
    if mean is not None:
        assert float(found.square().mean()) == pytest.approx(mean, rel=0.25)


def test_tezo_stays_in_the_span_of_its_factors_and_draws_new_weights():
    found = moves("mezo:tezo", (9, 12), 8, **of({"rank": 3}))
    assert int(torch.linalg.matrix_rank(found.flatten(1), rtol=1e-9)) == 3, "r matrices of rank 1 are all there is"
    assert int(torch.linalg.matrix_rank(torch.cat(list(found), 1), rtol=1e-9)) == 3, "one U"
    assert int(torch.linalg.matrix_rank(moves("mezo:lozo", (9, 12), 8, **of({"rank": 3})).flatten(1))) == 8


def test_sparse_directions_hold_their_mask_as_long_as_they_say():
    found = moves("mezo:sparse", (40, 50), 4, **of({"share": 0.25, "hold": 2})) != 0
    assert torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    assert float(found.double().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("family", ["lozo", "subzero", "tezo", "eggroll"])
def test_every_expert_of_a_tensor_of_all_is_a_matrix_of_its_own(family):
    own = {} if family == "eggroll" else {"rank": 1}
    (d,) = moves(f"mezo:{family}", (3, 6, 5), 1, **of(own))
    assert torch.linalg.matrix_rank(d).tolist() == [1, 1, 1] and int(torch.linalg.matrix_rank(d.flatten(0, 1))) == 3


# ---- families of others


class Twice(Directions):
    """Signs, twice as long."""

    factor: float = 2.0

    def draw(self, of: Draws):
        return self.factor * of.noise("rademacher")


class Held(Directions):
    """One direction for the whole run."""

    def draw(self, of: Draws):
        return of.noise(every=10**6, label="held")


def test_an_authors_method_takes_them_as_it_is_and_labelled_noise_is_its_own():
    class Masked(Estimator):
        eps: float = 1e-3

        def iterate(self, losses):
            mask = self.noise(label="mask").map(lambda x: (x > 0).to(x.dtype))
            z = mask * self.noise()
            self.descend(losses.slope(z, self.eps) * z)

    cls = build("masked:twice", Masked, Twice)
    _, opt = run(cls, steps=1)
    drawn = torch.cat([v.flatten() for _, v in opt.each(opt.noise())])
    assert set(drawn.tolist()) == {-2.0, 2.0}
    assert len(set(torch.cat([v.flatten() for _, v in opt.each(opt.noise(label="mask"))]).tolist())) == drawn.numel()
    assert difference(run(cls, **{"directions.factor": 1.0})[0], run(cls)[0]) > 0


def test_a_held_direction_is_one_draw_for_all_that_a_step_asks_for():
    _, opt = run(build("n_spsa:held", PLUGINS.estimator("n_spsa"), Held), steps=2)
    a, b = opt.noise(), opt.noise()
    assert all(torch.equal(x, y) for _, x, y in opt.each(a, b))


def test_a_label_that_both_hold_is_told_of():
    class Same(Estimator):
        def iterate(self, losses):
            self.noise(every=2, label="held")
            z = self.noise()
            self.descend(losses.slope(z, 1e-3) * z)

    with pytest.raises(TypeError, match="the directions hold a draw under 'held', and so does Same:Held"):
        run(build("same:held", Same, Held), steps=1)


def test_a_method_that_asks_for_no_plain_noise_is_told_of_instead_of_ignoring_them():
    class Own(Estimator):
        def iterate(self, losses):
            z = self.noise(label="mine")
            self.descend(losses.slope(z, 1e-3) * z)

    with pytest.raises(ZobenchError, match="asked for no plain noise in a step, so that its directions change nothing"):
        run(build("own:twice", Own, Twice), steps=1)


def test_settings_of_a_family_are_checked_and_the_class_says_what_it_is_made_of():
    cls = PLUGINS.estimator("fzoo:lozo")
    with pytest.raises(ZobenchError, match=r"directions\.rank=0: must be at least 1"):
        run(cls, steps=0, **{"directions.rank": 0})
    assert cls.forwards_per_step == 9 and cls.verified is True and PLUGINS.estimator("mezo:tezo").verified is False
    with pytest.raises(ZobenchError, match="unknown directions 'lazo'"):
        PLUGINS.estimator("mezo:lazo")

    class Clash(Directions):
        draw: int = 3

    with pytest.raises(ZobenchError, match="may not be called 'draw'|draw"):
        Clash()


# ---- names


def wish(*names, **settings):
    return Wish(estimators=names, selectors=("all",), tasks=("sst2",), settings=settings)


def written(w, refuses=lambda name: "", named=None):
    told = []
    out = of_settings(w, refuses, told.append, named if named is not None else w.estimators)
    return list(out.estimators), dict(out.settings), told


def test_the_setting_is_written_into_names():
    assert written(wish("mezo", "fzoo", directions="lozo", eps="1"))[:2] == (["mezo:lozo", "fzoo:lozo"], {"eps": "1"})
    assert written(wish("mezo", "fzoo", **{"fzoo.directions": "lozo"}))[0] == ["mezo", "fzoo:lozo"]
    both = written(wish("mezo", "fzoo", directions="tezo", **{"fzoo.directions": "lozo"}))
    assert both[0] == ["mezo:tezo", "fzoo:lozo"] and not both[1]
    assert written(wish("mezo:tezo", "fzoo", **{"directions.rank": "3"}))[1] == {"directions.rank": "3"}


def test_what_makes_no_sense_is_refused_and_what_all_named_is_left_out():
    def refuses(name):
        return "it draws none" if name == "sgd" else ""

    with pytest.raises(ZobenchError, match="estimator sgd takes no directions: it draws none"):
        written(wish("mezo", "sgd", directions="lozo"), refuses)
    names, _, told = written(wish("mezo", "sgd", directions="lozo"), refuses, named=("all",))
    assert names == ["mezo:lozo"] and told == ["left out of `all`: estimator sgd takes no directions: it draws none"]
    with pytest.raises(ZobenchError, match="has its directions in its name"):
        written(wish("mezo:tezo", directions="lozo"))
    with pytest.raises(ZobenchError, match=r"--set foo\.directions: unknown estimator of this run 'foo'"):
        written(wish("mezo", **{"foo.directions": "lozo"}))


@pytest.mark.parametrize("text", [":lozo", "mezo:", "dizo+", "+mezo", "a:b:c"])
def test_half_a_name_is_told_of(text):
    with pytest.raises(ZobenchError, match="write ESTIMATOR:DIRECTIONS"):
        parts(text)
    assert canonical(" mezo : lozo ", ["mezo"], ["lozo"]) == "mezo:lozo"


class Recalled(Estimator):
    """Looks along the direction of the step before."""

    exercise: ClassVar = {}

    def iterate(self, losses):
        z = self.noise(ago=1) if self.t else self.noise()
        self.kept = getattr(self, "kept", []) + [{p.name: v for p, v in self.each(z)}]
        self.fresh = getattr(self, "fresh", []) + ([{p.name: v for p, v in self.each(self.noise())}] if self.t else [])
        self.descend(losses.slope(z, 1e-3) * z)


@pytest.mark.parametrize("family", [f for f in FAMILIES if PLUGINS.directions(f).recalled])
def test_a_direction_of_an_earlier_step_is_drawn_again(family):
    opt = run(build(f"recalled:{family}", Recalled, PLUGINS.directions(family)), steps=3)[1]
    later, earlier = opt.kept[2], opt.fresh[0]
    assert all(torch.equal(later[n], earlier[n]) for n in later)
