"""The prefix cache in a run: on by default, recorded, rounding apart the same numbers, never between cells."""

import pytest
from kits.matrix import named
from kits.run_kit import numbers, plan, run

from zobench.errors import ZobenchError
from zobench.protocol.protocol import Computation, computation_from
from zobench.run.method import Method
from zobench.run.prefix import prefix_cache, prefixed
from zobench.run.selection import everything
from zobench.scopes.scope import Scope

LAYER = {"layer__index": 2, "engine": "flat"}


def test_it_is_the_default_but_for_the_official_engine():
    assert computation_from({}).prefix_cache == "auto" and computation_from({}).record()["prefix_cache"] == "auto"
    official = computation_from({"engine": "official"})
    assert official.prefix_cache == "off" and "prefix_cache" not in official.record()
    with pytest.raises(ZobenchError, match="engine=official has no prefix cache"):
        computation_from({"engine": "official", "prefix_cache": "auto"})


@pytest.mark.parametrize("estimator", named(["mezo", "adamw", "lora_zo", "agzo", "forward_grad"], ["mezo", "agzo"]))
def test_a_cell_gives_the_same_numbers_with_and_without(world, tmp_path, estimator):
    made = {}
    for wish in ("auto", "off"):
        (made[wish],) = run(
            world, tmp_path / wish, [estimator], ["layer"], ["sst2"], prefix_cache=wish, steps=6, eval_every=2, **LAYER
        )
        assert made[wish]["status"] == "ok", made[wish]["error"]
    cached, plain = made["auto"], made["off"]
    assert (cached["engine"]["prefix"], plain["engine"]["prefix"]) == (2, None)
    curves = [[loss for _, loss in record["trials"][0]["curve"]] for record in (cached, plain)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4) and len(curves[0]) == 3
    assert cached["metrics"]["test"]["items"] == plain["metrics"]["test"]["items"]
    assert cached["forwards"] == plain["forwards"], "a look from a block is a forward all the same"


def test_what_ran_before_a_cell_leaves_no_trace_in_its_numbers(world, tmp_path):
    settings = {"steps": 12, "eval_every": 4, **LAYER}
    first = run(world, tmp_path / "both", ["mezo"], ["layer"], seeds=(1, 0), **settings)
    (alone,) = run(world, tmp_path / "alone", ["mezo"], ["layer"], seeds=(0,), **settings)
    assert numbers(first[1]) == numbers(alone)


def test_which_scopes_have_one(world, tmp_path):
    made, _ = plan(world, tmp_path, ["mezo"])
    session, cell, wish = made.session, made.todo[0], Computation()
    prepared, _ = session.prepared(cell.task, cell.protocol, "auto")
    blocks = session.loaded.blocks

    def of(*indices, wish=wish, task=prepared):
        from zobench.scopes.scope import Scope

        names = {n for i in indices for n in blocks[i].parameter_names()}
        scope = Scope([(n, p) for n, p in session.loaded.model.named_parameters() if n in names], layers=indices)
        made = prefixed(task, session.loaded, scope, wish)
        return None if made is task else made.prefix.at

    assert (of(1), of(2), of(2, 1)) == (1, 2, 1)
    assert of(0) is None and of(0, 2) is None
    assert of(2, wish=Computation(prefix_cache="off")) is None
    assert of(2, task=prepared.replicated()) is None
    assert prefixed(prepared, session.loaded, everything(session.loaded), wish) is prepared
    mezo = session.plugins.estimator("mezo")
    assert Method.official(mezo, wish).computation.prefix_cache == "off"


def test_a_sweep_over_blocks_and_the_speed_measurement_use_it(world, tmp_path, monkeypatch):
    made = []
    import zobench.run.prefix as module

    original = module.PrefixCache
    monkeypatch.setattr(module, "PrefixCache", lambda *args: made.append(original(*args)) or made[-1])
    settings = {"exhaustive_sweep__steps": 8, "steps": 8, "speed_steps": 3, "speed_warmup": 1}
    (record,) = run(world, tmp_path, ["mezo"], ["exhaustive_sweep"], **settings)
    assert record["status"] == "ok"
    probed = [cache.at for cache in made]
    assert probed[:2] == [1, 2] and all(cache.hits > 0 for cache in made)
    assert probed[2:] == [i for i in record["scope"]["layers"] if i]


def test_a_cache_takes_a_quarter_of_what_is_free(world, tmp_path, monkeypatch):
    loaded = plan(world, tmp_path, ["mezo"])[0].session.loaded
    monkeypatch.setattr("zobench.run.prefix.free_bytes", lambda device: 400)
    scope = Scope([(n, p) for n, p in loaded.model.named_parameters() if ".layers.2." in n], layers=(2,))
    assert list(prefix_cache(loaded, scope)._room.values()) == [100]
