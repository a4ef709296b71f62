"""What pages say at the edge of a case: of lost seeds, ties, ends of a grid, verdicts on a paper's claims."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from kits.records import KNOWN, record

from zobench.report import around_page, blocks, choices, notes, reproduced, stats
from zobench.report.entry import Entry
from zobench.report.rows import MethodRow
from zobench.report.sections import _splits, sections
from zobench.report.stats import Draw


def test_a_missing_seed_is_counted_with_those_that_failed():
    made = {Draw(0, 0): record(), Draw(0, 1): record(seed=1, status="oom", error="x")}
    expected = frozenset(Draw(0, seed) for seed in range(4))
    assert around_page._score(Entry(made, expected)).endswith("(1 of 4 seeds)")
    assert "seeds" not in around_page._score(Entry({Draw(0, 0): record()}, frozenset({Draw(0, 0)})))


def test_of_blocks_with_equal_scores_the_lower_is_the_best():
    made = [record(selector=f"layer:{n}", test=test) for n, test in ((1, 70), (2, 80), (3, 80))]
    for one in made:
        one["scope"]["layers"] = [int(one["cell"]["selector"][-1])]
    (sweep,) = blocks.sweeps(made, KNOWN)
    assert blocks._best(sweep) == 2


@pytest.mark.parametrize(("lr", "end"), [(1e-4, "lower"), (1e-3, ""), (1e-2, "upper"), (1e-1, "upper"), (None, "")])
def test_the_end_of_a_grid_is_where_a_wider_one_would_go_on(lr, end):
    one = record(lr=1e-3 if lr is None else lr)
    if lr is None:
        del one["chosen"]
    assert choices.edge(one) == end
    assert choices.edge(record(lrs=(1e-3,), lr=1e-3)) == ""


@pytest.mark.parametrize(
    ("mean", "stderr", "verdict"),
    [
        (0.0, 0.0115, reproduced.HOLDS),
        (0.0, 0.0130, reproduced.OPEN),
        (-0.03, 0.0100, reproduced.FAILS),
        (-0.03, 0.0160, reproduced.OPEN),
        (0.05, 0.0100, reproduced.HOLDS),
    ],
)
def test_as_good_holds_where_a_loss_of_two_points_is_excluded_at_five_percent(mean, stderr, verdict):
    assert reproduced.verdict("as good", stats.of_values({0: mean}, stderr, 10**6)) == verdict


def test_a_row_is_the_control_by_any_of_its_records():
    """Early records do not say it."""
    early = record(seed=1)
    del early["stands"]
    for records, control in (((record(), early), True), ((early,), False), ((record(selector="layer"),), False)):
        assert MethodRow(records, "mezo", "all", "mezo", "all", False, {}).control is control


@pytest.mark.parametrize(("splits", "told"), [((), []), ((0,), []), ((0, 1), [0, 1]), ((3, 1, 1), [1, 3])])
def test_a_protocol_names_its_splits_where_there_are_several(splits, told):
    made = []
    for seed, split in enumerate(splits or (0,)):
        one = record(seed=seed, protocol={"data_seed": split})
        made.append(one | ({"role": {"seed": "report", "splits": list(splits)}} if splits else {}))
    assert _splits(made) == told


@pytest.mark.parametrize(("names", "lines"), [([], 0), (["lozo"], 1), (["lozo", "fzoo"], 1)])
def test_guesses_are_told_of_one_method_too(names, lines):
    one = record()
    one["unverified"] = names
    said = list(notes._of_guesses(SimpleNamespace(records=[one])))
    assert len(said) == lines and all(name in said[0] for name in names)


def test_two_revisions_of_a_model_are_sections_that_say_which():
    made = [record(model_revision=name) for name in ("a" * 40, "b" * 40)]
    assert [one.distinct for one in sections(made)] == [{"revision": "a" * 12}, {"revision": "b" * 12}]
    assert [one.distinct for one in sections(made[:1])] == [{}]


def test_runs_at_other_rates_are_rows_where_one_cell_has_both():
    (section,) = sections([record(lrs=(1e-3,)), record(lrs=(1e-4,), lr=1e-4), record(seed=1, lrs=(1e-4,), lr=1e-4)])
    assert sorted(len(row.records) for row in section.rows) == [1, 2]
    (section,) = sections([record(lrs=(1e-3,)), record(seed=1, lrs=(1e-4,), lr=1e-4)])
    assert [len(row.records) for row in section.rows] == [2], "rates that were tuned by seed are one method"
