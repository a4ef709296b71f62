"""Every computation of every kind of method is refused when it is planned, or runs: none is a failed record."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from kits.run_kit import plan, run

from zobench.engine import ENGINES, PRECISIONS, RESTORES, engine_class
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from
from zobench.run import rehearsal
from zobench.run.rehearsal import check, failure
from zobench.settings import resolve

FOUND = load_plugins(only="")
NOISES = ("per_tensor", "official", "philox")
TRAINED = [n for n in FOUND.names("estimators") if FOUND.estimator(n).trains and not FOUND.estimator(n).needs]


def computations():
    """What the settings alone allow; and for the others why not."""
    allowed, refused = [], {}
    for engine, noise, restore, precision in product(("auto", *ENGINES), NOISES, ("auto", *RESTORES), PRECISIONS):
        words = {"engine": engine, "noise": noise, "restore": restore, "precision": precision}
        try:
            allowed.append(computation_from(dict(words)))
        except ZobenchError as e:
            refused[engine, noise, restore, precision] = str(e)
    return allowed, refused


def planned(name, asked, *, drawn):
    """Why planning refuses it; empty where it does not."""
    cls = FOUND.estimator(name)
    try:
        check(name, cls, resolve(cls, {}), asked, kind=cls.parameterisation, drawn=drawn)
    except ZobenchError as e:
        return str(e)
    return ""


def test_the_settings_of_engines_refuse_what_their_classes_do_not_take():
    _, refused = computations()
    for engine, noise, restore, precision in refused:
        cls = engine_class(engine)
        assert (
            restore not in ("auto", *cls.restores)
            or precision not in cls.precisions
            or (noise == "official" and not cls.one_order)
        )
    assert {engine for engine, *_ in refused} == {"official", "official_fused", "pair", "streamed"}


@pytest.mark.parametrize(("name", "drawn"), [("mezo", False), ("hizoo_l", True), ("hizoo_l", False)])
def test_what_planning_lets_pass_runs_and_what_it_refuses_does_not(name, drawn):
    refused(name, drawn, few=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("drawn", [True, False])
def test_what_planning_lets_pass_runs_of_all_methods(name, drawn):
    refused(name, drawn, few=False)


def refused(name, drawn, *, few):
    """Of all computations those that planning refuses are those that fail, and each says what to leave out."""
    cls, ends = FOUND.estimator(name), {}
    for asked in computations()[0]:
        if few and (asked.noise == "philox" or "auto" in (asked.engine, asked.restore) or asked.precision == "float32"):
            continue  # as `per_tensor`, what it becomes, and `native`; the slow test tries all
        why = planned(name, asked, drawn=drawn)
        assert bool(why) == bool(failure(cls, resolve(cls, {}), asked, kind=cls.parameterisation, drawn=drawn))
        assert not why or (why.startswith(f"estimator {name} cannot be computed with ") and "\n" not in why)
        ends.setdefault(why, []).append(asked)
    odd = {asked.noise for why, some in ends.items() if why for asked in some}
    assert odd == ({"official"} if name == "hizoo_l" else set())
    if name == "hizoo_l":  # a stream is drawn once a step where there is room for that, but for MeZO's own order
        engines = {asked.engine for why, some in ends.items() if why for asked in some} - {"auto"}
        assert engines == ({"official", "official_fused"} if drawn else {*ENGINES} - {"streamed"})
        assert all("noise=official" in why and why.endswith("leave it out") for why in ends if why)


def test_a_computation_that_fails_is_refused_in_a_line_before_anything_is_written(world, tmp_path):
    told = {"engine": "official", "noise": "official", "layer__index": 1, "steps": 2, "eval_every": 1}
    with pytest.raises(ZobenchError, match="hizoo_l cannot be computed with noise=official: .*one stream"):
        plan(world, tmp_path / "r", ["hizoo_l"], ["layer"], ["sst2"], **told)
    assert not (tmp_path / "r").exists()


def test_the_smallest_cell_of_what_is_refused_fails_and_its_neighbour_does_not(world, tmp_path, monkeypatch):
    told = {"engine": "official", "layer__index": 1, "steps": 2, "eval_every": 1, "num_test": 2}
    (good,) = run(world, tmp_path, ["hizoo_l"], ["layer"], ["sst2"], **told)
    monkeypatch.setattr(rehearsal, "check", lambda *args, **more: None)
    (bad,) = run(world, tmp_path, ["hizoo_l"], ["layer"], ["sst2"], noise="official", **told)
    assert (good["status"], bad["status"]) == ("ok", "error") and "official noise is one stream" in bad["error"]


def test_with_the_usual_computation_nothing_of_a_method_is_run_when_it_is_planned(monkeypatch):
    monkeypatch.setattr(rehearsal, "_tried", lambda *args, **more: 1 / 0)
    check("mezo", FOUND.estimator("mezo"), {}, computation_from({}), kind="full", drawn=True)
    check("mezo", FOUND.estimator("mezo"), {}, computation_from({"engine": "flat"}), kind="full", drawn=False)


def test_a_method_that_fails_with_the_usual_computation_too_is_no_matter_of_planning():
    class Broken(FOUND.estimator("mezo")):
        def iterate(self, losses):
            raise RuntimeError("of its own")

    asked = replace(computation_from({"engine": "official"}), noise="official")
    assert failure(Broken, {}, asked) == "of its own"
    check("broken", Broken, {}, asked, kind="full", drawn=True)
