"""Words of the command line to cells: routing of settings, presets, the product of the flags, identities."""

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from zobench.contracts.selector import Selector
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run.cells import Identity, cells
from zobench.run.routing import parse_settings, route
from zobench.run.wish import Wish, expand
from zobench.settings import Count, Positive


class Looks:
    """Stands for an estimator: only its declarations matter here."""

    trains: ClassVar[bool] = True
    differentiates = False
    lr_grid: ClassVar[tuple] = (1e-7, 5e-6)
    small_lrs: ClassVar[tuple] = (1e-4, 1e-3)
    eps: Positive = 1e-3


class Sparse(Looks):
    sparsity: Positive = 0.75


class Nothing(Looks):
    trains: ClassVar[bool] = False


class Some(Selector):
    index: tuple[Count, ...] = ()


class Sweep(Selector):
    presets: ClassVar[dict] = {"small": {"steps": 8}}
    steps: Count = 200


class Halving(Sweep):
    lr: Positive | None = None


REAL = load_plugins()
SELECTORS = {"layer": Some, "exhaustive_sweep": Sweep, "halving": Halving}
PLUGINS = SimpleNamespace(
    estimator={"mezo": Looks, "sparse_mezo": Sparse, "zero_shot": Nothing}.__getitem__,
    code=lambda used: {},
    selector=SELECTORS.__getitem__,
    get=lambda kind, name: SELECTORS[name] if kind == "selectors" else REAL.get(kind, name),
    names=REAL.names,
    offers=REAL.offers,
)
IDENTITY = Identity("tiny", "abc", "folder", {"sst2": 1, "rte": 1}, {"sst2": "d1", "rte": "d2"})


def wish(**changes):
    defaults = dict(estimators=("mezo", "sparse_mezo"), selectors=("layer", "exhaustive_sweep"), tasks=("sst2", "rte"))
    return Wish(**{**defaults, **changes})


def planned(**changes):
    w = wish(**changes)
    return cells(w, route(w, PLUGINS), PLUGINS, IDENTITY)


def test_a_plain_key_goes_to_all_who_declare_it_and_a_dotted_one_to_its_owner():
    routed = route(wish(settings={"eps": "1e-2", "sparse_mezo.eps": "1e-1", "layer.index": "1,3"}), PLUGINS)
    assert routed.estimators["mezo"]["eps"] == 1e-2
    assert routed.estimators["sparse_mezo"] == {"eps": 1e-1, "sparsity": 0.75}
    assert routed.selectors["layer"] == {"index": (1, 3)}


def test_settings_of_protocol_and_run_are_found_with_and_without_their_owner():
    for steps, engine in (("steps", "engine"), ("protocol.steps", "run.engine")):
        given = {steps: "50", "eval_every": "10", engine: "flat", "run.lr": "1e-3,1e-2"}
        routed = route(wish(selectors=("layer",), settings=given), PLUGINS)
        assert (routed.protocol.steps, routed.computation.engine, routed.lrs) == (50, "flat", (1e-3, 1e-2))


def test_a_setting_of_two_owners_must_say_which():
    say_which = (
        "--set steps: the protocol has a setting of that name, and so has exhaustive_sweep: say which, "
        "--set protocol.steps=... or --set exhaustive_sweep.steps=..."
    )
    with pytest.raises(ZobenchError) as e:
        route(wish(settings={"steps": "50"}), PLUGINS)
    assert str(e.value) == say_which
    routed = route(wish(settings={"protocol.steps": "50", "protocol.eval_every": "25"}), PLUGINS)
    assert routed.protocol.steps == 50 and routed.selectors["exhaustive_sweep"]["steps"] == 8, "the preset's own"
    routed = route(wish(settings={"exhaustive_sweep.steps": "50"}), PLUGINS)
    assert routed.protocol.steps == 40 and routed.selectors["exhaustive_sweep"]["steps"] == 50
    assert route(wish(), PLUGINS).protocol.steps == 40, "a preset's plain words are the protocol's"


def test_the_learning_rates_are_the_runs():
    with pytest.raises(ZobenchError, match=r"--set lr: the run has .* and so has halving: .*run.lr=.*halving.lr="):
        route(wish(selectors=("halving",), settings={"lr": "1e-3"}), PLUGINS)
    assert route(wish(settings={"lr": "1e-3"}), PLUGINS).lrs == (1e-3,)


def test_set_goes_before_the_preset():
    assert route(wish(settings={"num_dev": "7"}), PLUGINS).protocol.num_dev == 7
    assert route(wish(preset="paper"), PLUGINS).protocol.steps == 10_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"epss": "1"}}, "did you mean 'eps'"),
        ({"settings": {"mezo.epss": "1"}}, "did you mean 'eps'"),
        ({"settings": {"lozo.eps": "1"}}, "unknown estimator or selector of this run 'lozo'"),
        ({"settings": {"eps": "-1"}}, "must be above 0"),
        ({"settings": {"eps": "abc"}}, "not a number"),
        ({"settings": {"lr": "0"}}, "learning rates must be above 0"),
        ({"settings": {"protocol.steps": "10", "eval_every": "20"}}, "no checkpoint would ever be evaluated"),
        ({"settings": {"protocol.stps": "4"}}, "unknown setting of the protocol 'stps'; did you mean 'steps'"),
        ({"settings": {"run.steps": "4"}}, "unknown setting of the run 'steps'"),
        ({"preset": "large"}, "unknown preset 'large'"),
    ],
)
def test_bad_settings_are_one_clear_line(changes, message):
    with pytest.raises(ZobenchError) as e:
        planned(**changes)
    assert message in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("items", [["eps"], ["=3"], ["eps=1", "eps=2"], ["steps=1", "protocol.steps=2"]])
def test_malformed_set_is_refused(items):
    with pytest.raises(ZobenchError, match="--set"):
        parse_settings(items)


def test_names_expand_all_once_and_suggest():
    assert expand(("rte", "all"), ["rte", "sst2"], "task") == ("rte", "sst2")
    assert expand(("all",), ["all", "layer"], "selector") == ("all",)
    with pytest.raises(ZobenchError, match="did you mean 'sst2'"):
        expand(("sst",), ["rte", "sst2"], "task")


def test_cells_are_the_product_and_untrained_ones_stand_once():
    made = planned(estimators=("zero_shot", "mezo"), seeds=(0, 1))
    assert len(made) == 2 * (1 + 2 * 2)
    assert [c.selector for c in made if c.estimator == "zero_shot"] == ["-", "-"]
    assert len({c.id for c in made}) == len(made)
    assert [c.task for c in made] == ["sst2"] * 5 + ["rte"] * 5


def test_the_grid_is_the_users_else_the_presets():
    assert planned(lrs=(1e-2,))[0].lrs == (1e-2,)
    assert planned(settings={"lr": "1e-3,1e-2"})[0].lrs == (1e-3, 1e-2)
    assert planned(preset="paper")[0].lrs == Looks.lr_grid
    assert planned()[0].lrs == Looks.small_lrs


def test_an_identity_changes_with_everything_that_changes_numbers():
    base = planned()[0]
    for changes in (
        {"settings": {"eps": "1e-2"}},
        {"settings": {"layer.index": "2"}},
        {"settings": {"engine": "flat"}},
        {"settings": {"protocol.steps": "99", "eval_every": "33"}},
        {"lrs": (3e-4,)},
        {"seeds": (7,)},
    ):
        assert planned(**changes)[0].id != base.id, changes
    assert planned()[0].id == base.id


def test_a_setting_younger_than_the_protocol_is_recorded_where_it_departs():
    usual = planned()[0]
    other = planned(settings={"pad_targets": "drop"})[0]
    assert "pad_targets" not in usual.protocol.record() and other.protocol.record()["pad_targets"] == "drop"
    assert usual.id != other.id


def test_evaluations_beyond_the_last_step_are_a_note_where_nothing_trains():
    said: list[str] = []
    sizes = {"protocol.steps": "4", "protocol.eval_every": "9"}
    routed = route(wish(estimators=("zero_shot",), settings=sizes), load_plugins(warn=said.append))
    assert routed.protocol.eval_every == 4 and any("nothing is trained" in one for one in said)
    with pytest.raises(ZobenchError, match="above steps=4"):
        route(wish(estimators=("zero_shot", "mezo"), settings=sizes), load_plugins())


def test_what_a_cell_was_before_and_what_its_seed_is_for_are_no_part_of_it():
    (cell, *_) = planned()
    assert replace(cell, before="x") == cell == replace(cell, role={"seed": "tune"}) != replace(cell, seed=99)
