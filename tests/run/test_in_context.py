"""The reference `icl`: demonstrations for one row of a table whose other rows see none; and who may ask for what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kits.run_kit import carry_out, plan, plugin_file, run
from zobench_plugins.estimators.icl import ICL

from zobench import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import Protocol, asked
from zobench.report import leaderboard
from zobench.run import estimate
from zobench.run.device_pace import Pace
from zobench.tasks.demonstrations import demonstrations, rendered
from zobench.tasks.sampling import demonstration_seeds, sample


def rows(prepared, name="test"):
    return [[row.ids for row in encoded.rows] for encoded, _ in prepared._scored[name]]


@pytest.mark.parametrize("sets", ["fixed", "per_item"])
@pytest.mark.parametrize("task", ["copa", "squad"])
def test_it_is_scored_as_a_protocol_with_demonstrations_would_be(world, tmp_path, task, sets):
    told = {"icl__demonstrations": 3, "icl__demonstration_sets": sets}
    made, _ = plan(world, tmp_path / "a", ["icl"], tasks=[task], **told)
    theirs, _ = plan(world, tmp_path / "b", ["zero_shot"], tasks=[task], demonstrations=3, demonstration_sets=sets)
    (cell,), (other,) = made.todo, theirs.todo
    assert cell.protocol.demonstrations == 0 and other.protocol.demonstrations == 3
    plain, _ = made.session.prepared(cell.task, cell.protocol, cell.computation.rows)
    own = made.session.scored(cell, plain)
    wanted, _ = theirs.session.prepared(other.task, other.protocol, other.computation.rows)
    for name in ("dev", "test"):
        assert rows(own, name) == rows(wanted, name) != rows(plain, name)
    assert rows(made.session.prepared(cell.task, cell.protocol, cell.computation.rows)[0]) == rows(plain), "left alone"
    dev = [prepared.dev_loss(made.session.loaded.model).value for prepared in (own, plain)]
    assert dev[0] == dev[1], "demonstrations are for scoring; dev loss and training go by the protocol"


def test_it_stands_in_one_table_with_rows_that_see_none(world, tmp_path):
    records = run(world, tmp_path, ["zero_shot", "icl", "mezo"], tasks=["copa"], icl__demonstrations=3)
    zero, icl, mezo = records
    assert [r["status"] for r in records] == ["ok"] * 3
    assert zero["protocol"] == icl["protocol"] == mezo["protocol"] and icl["protocol"]["demonstrations"] == 0
    assert icl["cell"]["estimator_settings"] == {"demonstrations": 3, "demonstration_sets": "fixed"}
    assert icl["cell"]["selector"] == "-" and icl["cell"]["lrs"] == [] and not icl["trials"]
    assert icl["metrics"]["zero_shot"] == zero["metrics"]["test"], "gains of all rows are over one score"
    (alone,) = run(world, tmp_path / "b", ["zero_shot"], tasks=["copa"], demonstrations=3)
    assert icl["metrics"]["test"] == alone["metrics"]["test"] and icl["metrics"]["dev"] == alone["metrics"]["dev"]
    board = leaderboard.render(records)
    assert "\n## " not in board and "| *icl* " in board and "| *zero_shot* " in board


@pytest.mark.parametrize("task", ["copa", "squad"])
def test_what_it_costs_is_told_before(world, tmp_path, monkeypatch, task):
    monkeypatch.setattr(estimate, "measured", lambda _: Pace("test", call_s=0.0, token_s=1.0, pass_s={}))
    told = {}
    for name in ("zero_shot", "icl"):
        made, place = plan(
            world, tmp_path / name, [name], tasks=[task], **{"icl__demonstrations": 3} if name == "icl" else {}
        )
        told[name] = estimate.cost(made.todo[0], made.session)
        (record,) = carry_out(made, place)
        assert 0 < record["forwards"]["eval"] <= told[name].forwards["eval"]
        assert task == "squad" or record["forwards"]["eval"] == told[name].forwards["eval"]
    assert told["icl"].forwards["eval"] > told["zero_shot"].forwards["eval"]
    assert told["icl"].seconds > 2 * told["zero_shot"].seconds, "its rows are longer"


@pytest.mark.parametrize(("sets", "there"), [("fixed", 12), ("per_item", 23)])
def test_more_demonstrations_than_items_are_refused(world, tmp_path, sets, there):
    told = {"icl__demonstrations": there + 1, "icl__demonstration_sets": sets}
    with pytest.raises(ZobenchError) as told_off:
        plan(world, tmp_path / "r", ["icl"], tasks=["copa"], **told)
    assert str(told_off.value) == f"task copa: demonstrations={there + 1}, but there are {there} items to show"


def test_a_dev_item_never_sees_its_own_answer(world, tmp_path):
    """Drawn from the pool that dev is of: all others are shown, itself not; test items see what they always did."""
    told = {"icl__demonstrations": 23, "icl__demonstration_sets": "per_item"}
    made, _ = plan(world, tmp_path, ["icl"], tasks=["copa"], **told)
    (cell,) = made.todo
    _, splits = made.session.prepared(cell.task, cell.protocol)
    task, rules = made.session.task(cell.task), asked(cell.protocol, ICL.scored_by, cell.estimator_settings)
    examples = rendered(task, splits)
    for item, shown in zip(splits.dev, demonstrations(task, splits, rules, examples, "dev"), strict=True):
        assert len(shown) == 23 and item not in [d.data for d in shown]
    of_test = demonstrations(task, splits, rules, examples, "test")
    for seed, shown in zip(demonstration_seeds(len(splits.test)), of_test, strict=True):
        assert [d.data for d in shown] == [splits.pool[i] for i in sample(len(splits.pool), 23, seed)]


ASKING = """
    from typing import ClassVar

    from zobench import Count, hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    class Shown(MeZO):
        scored_by: ClassVar[tuple[str, ...]] = ("demonstrations",)
        demonstrations: Count = 3

    class Greedy(MeZO):
        scored_by: ClassVar[tuple[str, ...]] = ("num_test",)
        num_test: Count = 1

    @hookimpl
    def zobench_estimators():
        return {"shown": Shown, "greedy": Greedy}
"""


def test_one_that_trains_may_ask_too_and_trains_the_same(world, tmp_path):
    plugins = load_plugins([plugin_file(tmp_path, ASKING)])
    mezo, shown = run(world, tmp_path / "r", ["mezo", "shown"], tasks=["copa"], plugins=plugins)
    assert shown["status"] == "ok" and shown["trials"] == mezo["trials"] and shown["chosen"] == mezo["chosen"]
    assert shown["metrics"]["zero_shot"] == mezo["metrics"]["zero_shot"]
    made, _ = plan(world, tmp_path / "s", ["shown"], tasks=["copa"], plugins=plugins)
    plain, _ = made.session.prepared("copa", made.todo[0].protocol)
    assert rows(made.session.scored(made.todo[0], plain)) != rows(plain)


def test_what_is_not_a_rule_of_scoring_is_everyones(world, tmp_path):
    plugins = load_plugins([plugin_file(tmp_path, ASKING)])
    message = "estimator greedy: .*an estimator may set only demonstration_sets, demonstrations, scoring"
    with pytest.raises(ZobenchError, match=message):
        plan(world, tmp_path / "r", ["greedy"], tasks=["copa"], plugins=plugins)
    assert asked(Protocol(), (), {"num_test": 1}) == Protocol()
    assert asked(Protocol(), ("scoring",), {"scoring": "sfc"}) == replace(Protocol(), scoring="sfc")


def test_settings_of_its_own():
    assert ICL.trains is False and ICL.demonstrations == 32
    with pytest.raises(ZobenchError, match="demonstrations=0: must be at least 1"):
        ICL([], lr=1.0, demonstrations=0)
