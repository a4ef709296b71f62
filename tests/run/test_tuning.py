"""Seeds that choose learning rates and seeds that are reported: what runs when, at which rate, and what records say."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from kits.run_kit import QUICK, built_in, carry_out, plan, plugin_file, run
from rich.console import Console

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.report import leaderboard, store
from zobench.report.sections import sections
from zobench.run.place import Place
from zobench.run.plan import make_plan
from zobench.run.progress import Progress
from zobench.run.tuning import chosen
from zobench.run.whole_run import board, execute
from zobench.run.wish import Wish

LRS = (1e-4, 1e-3)


def tuned(
    world,
    results,
    *,
    estimators=("mezo",),
    tasks=("sst2",),
    lrs=LRS,
    plugins=None,
    preset="small",
    shard=(1, 1),
    **wish,
):
    """A plan with tuning seeds, and its place."""
    made = Wish(tuple(estimators), ("all",), tuple(tasks), (0, 1, 2), preset, lrs, dict(QUICK))
    place = Place(str(world.model), world.data, results, "cpu", True, shard=shard)
    return make_plan(replace(made, **{"tune_seeds": (10, 11), **wish}), place, plugins or built_in(None)), place


def by_seed(records):
    return {r["cell"]["seed"]: r for r in records if r["cell"]["estimator"] == "mezo"}


def test_tuning_seeds_choose_and_the_others_run_what_they_chose(world, tmp_path):
    made, place = tuned(world, tmp_path, estimators=("zero_shot", "mezo"))
    assert [(c.seed, c.lrs) for c in made.todo] == [(10, LRS), (11, LRS)], "they come first, with the whole grid"
    expected = made.later.expected(made.plugins)
    assert {(c.seed, c.lrs) for c in expected if c.lrs} == {(n, LRS[:1]) for n in (0, 1, 2)}, "each at one rate"
    records = carry_out(made, place)
    found = by_seed(records)
    assert [r["cell"]["seed"] for r in records] == [10, 11, 0, 0, 1, 2]
    losses = {lr: [t["dev_loss"] for s in (10, 11) for t in found[s]["trials"] if t["lr"] == lr] for lr in LRS}
    best = min(LRS, key=lambda lr: sum(losses[lr]))
    for seed in (0, 1, 2):
        assert found[seed]["cell"]["lrs"] == [best] and [t["lr"] for t in found[seed]["trials"]] == [best]
        assert found[seed]["role"] == {
            "seed": "report",
            "tuned_on": [10, 11],
            "rate_from": [found[10]["id"], found[11]["id"]],
        }
    assert found[10]["role"] == found[11]["role"] == {"seed": "tune"}
    text = board(made, place).markdown
    assert "Seeds: 0, 1, 2. Learning rates were chosen on seeds 10, 11, which are not reported." in text
    assert "only one learning rate was tried" not in text and "flatters" not in text
    again, _ = tuned(world, tmp_path, estimators=("zero_shot", "mezo"))
    assert again.todo == [] and carry_out(again, place) == [] and len(again.done) == 6


@pytest.fixture(scope="module")
def alone(world, tmp_path_factory):
    """A folder of MeZO with tuning seeds, which nobody changes, and its records."""
    results = tmp_path_factory.mktemp("alone")
    made, place = tuned(world, results)
    return results, carry_out(made, place)


def test_where_seeds_choose_the_rate_none_that_was_chosen_before_is_taken(world, tmp_path, monkeypatch):
    monkeypatch.setattr("zobench.run.cells.tuned", lambda *names: (5e-4,))
    searched, known = (tuned(world, tmp_path, lrs=None, tune_seeds=seeds)[0] for seeds in ((10, 11), ()))
    assert {cell.lrs for cell in known.todo} == {(5e-4,)}
    assert all(len(cell.lrs) > 1 for cell in searched.todo) and len(searched.todo) == 2


def test_the_role_is_no_part_of_the_identity(world, tmp_path, alone):
    found = by_seed(alone[1])
    (rate,) = found[0]["cell"]["lrs"]
    (plain,) = run(world, tmp_path / "b", ["mezo"], lrs=(rate,))
    assert plain["id"] == found[0]["id"] and "role" not in plain
    assert plain["metrics"] == found[0]["metrics"]
    (grid,) = run(world, tmp_path / "c", ["mezo"], seeds=(10,), lrs=LRS)
    assert grid["id"] == found[10]["id"]


def test_a_seed_has_one_role(world, tmp_path, alone):
    with pytest.raises(ZobenchError, match="seed 2 is both in --tune-seeds and in --seeds"):
        tuned(world, tmp_path, seeds=(2, 10, 11), tune_seeds=(2, 3))
    run(world, tmp_path / "r", ["mezo"], seeds=(10,), lrs=LRS)
    with pytest.raises(ZobenchError, match="seed 10 was reported in this folder and cannot choose rates: name another"):
        tuned(world, tmp_path / "r")
    with pytest.raises(ZobenchError, match="seed 11 was used to choose rates in this folder and cannot be reported"):
        plan(world, alone[0], ["mezo"], seeds=(11,), lrs=LRS)


def fake(losses):
    """Records of tuning cells by their dev losses at each rate; a text is how the trial failed."""
    made = {}
    for i, of in enumerate(losses):
        trials = [
            {"lr": lr, "status": v if isinstance(v, str) else "ok", "dev_loss": None if isinstance(v, str) else v}
            for lr, v in of.items()
        ]
        made[f"cell{i}"] = {"trials": trials}
    return made


class Named:
    def __init__(self, name):
        self.id = name


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ([{1e-4: 0.5, 1e-3: 0.4}, {1e-4: 0.5, 1e-3: 0.7}], 1e-4),  # in the mean
        ([{1e-4: 0.5, 1e-3: 0.4}, {1e-4: 0.5, 1e-3: 0.4}], 1e-3),
        ([{1e-4: 0.5, 1e-3: 0.1}, {1e-4: 0.5, 1e-3: "diverged"}], 1e-4),  # what a seed failed at is no rate
        ([{1e-4: 0.5, 1e-3: 0.4, 1e-2: 0.1}, {1e-4: 0.5, 1e-3: 0.4}], 1e-3),  # nor what one of them never tried
        ([{1e-4: 0.5, 1e-3: 0.5}], 1e-4),  # of equal ones the smaller
        ([{1e-4: "diverged"}, {1e-4: 0.5}], None),
        ([{}, {}], None),
    ],
)
def test_the_rate_is_the_best_in_the_mean_that_no_seed_failed_at(losses, rate):
    cells = [Named(f"cell{i}") for i in range(len(losses))]
    found = chosen(cells, fake(losses))
    assert (None if found is None else found.lr) == rate
    assert found is None or found.chosen_by == tuple(cell.id for cell in cells)


def test_a_method_that_no_rate_suits_is_not_run_and_is_told_of(world, tmp_path, capsys):
    path = plugin_file(
        tmp_path,
        """
        from zobench import hookimpl
        from zobench_plugins.estimators.mezo import MeZO

        class Bad(MeZO):
            def iterate(self, losses):
                raise ValueError("no step")

        @hookimpl
        def zobench_estimators():
            return {"bad": Bad}
        """,
    )
    told = ["run", "-e", "bad,mezo", "-t", "sst2", "-m", str(world.model), "--data-dir", str(world.data), "--offline"]
    told += ["--results", str(tmp_path / "r"), "--lr", "1e-4,1e-3", "--tune-seeds", "10", "--seeds", "0,1,2"]
    told += ["--plugin", str(path), *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}"))]
    assert main(told) == 1
    err = capsys.readouterr().err
    assert "bad/all on sst2: every learning rate failed on a tuning seed; not run on the others" in err
    records, _ = store.read(tmp_path / "r")
    assert [(r["cell"]["estimator"], r["cell"]["seed"]) for r in records if r["cell"]["estimator"] == "bad"] == [
        ("bad", 10)
    ]
    text = (tmp_path / "r" / "leaderboard.md").read_text()
    assert "bad / all: has records of tuning seeds alone on sst2." in text


def test_a_grid_of_one_rate_needs_no_tuning(world, tmp_path):
    made, place = tuned(world, tmp_path, lrs=(1e-3,))
    assert made.todo == []
    records = carry_out(made, place)
    assert [r["cell"]["seed"] for r in records] == [0, 1, 2] and all(r["role"] == {"seed": "report"} for r in records)


def test_an_interrupted_run_goes_on_where_it_stopped(world, tmp_path):
    made, place = tuned(world, tmp_path)
    first = replace(made, todo=made.todo[:1], later=None)
    execute(first, place, Progress(made.session.plugins, 1, Console(file=io.StringIO())))
    with pytest.raises(ZobenchError, match="no records to make a leaderboard of"):
        board(first, place)
    again, _ = tuned(world, tmp_path)
    assert [c.seed for c in again.todo] == [11]
    assert [r["cell"]["seed"] for r in carry_out(again, place)] == [11, 0, 1, 2]


def test_splits_stand_in_one_table(world, tmp_path):
    made, place = tuned(world, tmp_path, estimators=("zero_shot", "mezo"), split_seeds=(0, 5))
    assert [(c.protocol.data_seed, c.seed) for c in made.todo] == [(0, 10), (0, 11)], "rates are chosen on one split"
    records = carry_out(made, place)
    found = {(r["protocol"]["data_seed"], r["cell"]["seed"]) for r in records if r["cell"]["estimator"] == "mezo"}
    assert found == {(0, 10), (0, 11), *((k, s) for k in (0, 5) for s in (0, 1, 2))}
    every, _ = store.read(tmp_path)
    (section,) = sections(every)
    mezo = next(row for row in section.rows if row.estimator == "mezo")
    effect = mezo.entry("sst2").effect
    assert effect is not None and len(effect.tasks[0].splits) == 2 and effect.seeds == 3
    assert mezo.gain(("sst2",)) is not None
    assert "data_seed=[0, 5]" in leaderboard.render(every)
    other = [r for r in run(world, tmp_path, ["lozo"], data_seed=7)]
    with pytest.raises(ZobenchError, match="different protocols"):
        sections([*every, *other])


def test_the_command_says_what_it_will_do(world, tmp_path, capsys):
    told = ["run", "-e", "mezo", "-t", "sst2", "-m", str(world.model), "--data-dir", str(world.data), "--offline"]
    told += ["--results", str(tmp_path / "r"), "--lr", "1e-4,1e-3", "--tune-seeds", "10,11", "--seeds", "0,1"]
    told += [x for k, v in QUICK.items() for x in ("--set", f"{k}={v}")]
    assert main([*told, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.count("0.0001, 0.001") == 2 and out.count("the one chosen") == 2 and "4 cells to run" in out
    assert main([*told, "--split-seeds", "0,1", "--set", "data_seed=3"]) == 2
    assert "data_seed is given twice: by --split-seeds" in capsys.readouterr().err
    assert main([*told[:-2], "--tune-seeds", "x"]) == 2


def test_shards_share_the_cells_and_wait_for_the_rates_of_each_other(world, tmp_path):
    """Three shards of cells with two tuning seeds: none is run twice, none is left, and rates are those of one run."""

    def shard(i):
        made, place = tuned(world, tmp_path / "r", shard=(i, 2))
        return made, carry_out(made, place)

    first, one = shard(1)
    assert [r["cell"]["seed"] for r in one] == [10] and "1 cells that choose" in first.faults[0]
    second, two = shard(2)
    assert [r["cell"]["seed"] for r in two] == [11, 1] and not second.faults
    third, three = shard(1)
    assert [r["cell"]["seed"] for r in three] == [0, 2] and not third.faults
    assert {r["cell"]["lrs"][0] for r in [*two[1:], *three]} == {three[0]["cell"]["lrs"][0]}
