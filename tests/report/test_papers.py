"""Papers as data, and their tables beside records."""

from types import SimpleNamespace

import pytest
from kits.records import items, record

from zobench.errors import ZobenchError
from zobench.report import paper, paper_join, papers, reproduced, stats
from zobench.report.sections import sections


def test_every_paper_is_whole():
    """Rows name grids that are there, claims name rows of their table, figures name tables."""
    assert papers.names() == ["dominant-layer", "mezo"]
    for name in papers.names():
        paper = papers.read(name)
        for table in paper.tables.values():
            for row in table.rows:
                assert row.grid in paper.grids and (row.scores or row.times), (table.number, row)
        for claim in paper.claims:
            methods = {row.method for row in paper.tables[claim.table].rows}
            assert {claim.first, claim.second} <= methods and claim.verdict in ("better", "as good")
        for figure in paper.figures.values():
            assert set(figure.tables) <= set(paper.tables)


def test_tables_are_named_alone_in_lists_and_in_ranges():
    paper = papers.read("dominant-layer")
    assert [t.number for t in papers.tables_of(paper, [])] == [*"123456", "10", "11", "12", "13"]
    assert [t.number for t in papers.tables_of(paper, ["10..12", "1"])] == ["10", "11", "12", "1"]
    with pytest.raises(ZobenchError, match="table of dominant-layer"):
        papers.tables_of(paper, ["7"])
    with pytest.raises(ZobenchError, match="paper"):
        papers.read("nobody")


def test_a_sweep_is_a_table_of_blocks():
    table = papers.read("dominant-layer").tables["12"]
    assert table.sweeps and table.tasks == ("wsc", "copa", "drop")
    assert [row.runs for row in table.rows[:3]] == ["-", "all", "layer:0"] and len(table.rows) == 34
    assert table.rows[3].scores == {"wsc": 64.42, "copa": 87.0, "drop": 41.05}


def table_of(first: dict[str, float], second: dict[str, float], model: str = "m") -> papers.PrintedTable:
    rows = (
        papers.PrintedRow("one block", "mezo", "layer:1", "zo", first),
        papers.PrintedRow("all", "mezo", "all", "zo", second),
    )
    return papers.PrintedTable("1", model, rows)


def paper_of(table: papers.PrintedTable, verdict: str) -> papers.Paper:
    claim = papers.PrintedClaim("it is so", "1", verdict, "one block", "all")
    return papers.Paper("p", "A paper", "0000.00000", {"1": table}, {}, {}, (claim,), None, {})


def runs(right: int, other: int):
    """Three seeds of both rows on one task: so many of 100 items right, the same items at every seed but a few."""
    return [
        one
        for seed in range(3)
        for one in (
            record(selector="layer:1", seed=seed, test=items(right + seed)),
            record(selector="all", seed=seed, test=items(other + seed)),
        )
    ]


def test_numbers_of_the_same_model_are_inside_or_outside():
    table = table_of({"sst2": 81.0}, {"sst2": 99.0})
    page = reproduced.markdown(paper_of(table, "as good"), [table], runs(80, 70), "M", "budget small")
    own = reproduced.our_rows(table, runs(80, 70))
    assert own[0].effect(["sst2"]).mean == pytest.approx(0.81)
    assert "0.0 in |" in page and "-28.0 out |" in page and "1 of 2 numbers of the paper lie inside" in page


def test_another_model_has_no_differences_but_claims():
    table = table_of({"sst2": 81.0}, {"sst2": 80.0}, model="LLaMA2-7B")
    page = reproduced.markdown(paper_of(table, "better"), [table], runs(80, 50), "tiny", "budget small")
    assert "Another model than the paper's" in page and "| difference" not in page
    assert (
        "| +1.0 " in page
        and "+30.0 ±" in page
        and page.rstrip().endswith("| holds                   |")
        or "holds" in page
    )


@pytest.mark.parametrize(
    ("said", "right", "other", "want"),
    [
        ("better", 80, 50, reproduced.HOLDS),
        ("better", 50, 80, reproduced.FAILS),
        ("better", 60, 60, reproduced.OPEN),
        ("as good", 80, 50, reproduced.HOLDS),
        ("as good", 60, 60, reproduced.HOLDS),
        ("as good", 50, 80, reproduced.FAILS),
    ],
)
def test_claims_are_decided_by_intervals(said, right, other, want):
    table = table_of({"sst2": 81.0}, {"sst2": 80.0})
    first, second = reproduced.our_rows(table, runs(right, other))
    assert reproduced.verdict(said, first.minus(second, ["sst2"])) == want


@pytest.mark.parametrize(
    ("mean", "want"), [(-0.019, reproduced.HOLDS), (-0.021, reproduced.FAILS), (0.0, reproduced.HOLDS)]
)
def test_as_good_is_within_two_points(mean, want):
    effect = stats.score({seed: [mean + 1e-5, mean - 1e-5] * 50 for seed in range(3)})
    assert reproduced.verdict("as good", effect) == want


def test_a_wide_interval_decides_nothing():
    effect = stats.score({0: [0.5, -0.5, 0.4, -0.4], 1: [-0.3, 0.3, 0.1, -0.1]})
    assert {reproduced.verdict(said, effect) for said in ("better", "as good")} == {reproduced.OPEN}


def test_a_row_that_was_not_run_whole_decides_nothing():
    table = table_of({"sst2": 81.0}, {"sst2": 80.0})
    some = runs(80, 50)[:-1]
    assert "was not run whole" in reproduced.markdown(paper_of(table, "better"), [table], some, "tiny", "small")


def test_seeds_that_other_methods_have_are_missing_and_those_of_references_alone_are_not():
    table = table_of({"sst2": 81.0}, {"sst2": 80.0})
    made = [one for one in runs(80, 70) if (one["cell"]["selector"], one["cell"]["seed"]) != ("all", 2)]
    first, second = (row.entries["sst2"] for row in reproduced.our_rows(table, [*made, record("zero_shot", seed=7)]))
    assert [draw.seed for draw in first.missing] == [] and [draw.seed for draw in second.missing] == [2]
    assert first.complete and not second.complete


def test_beside_a_number_that_the_paper_lacks_there_is_no_difference():
    made = [record(task=task, seed=seed, test=items(80 + seed)) for task in ("rte", "sst2") for seed in range(3)]
    (row,) = sections(made)[0].rows
    beside = paper._comparison(row, {"sst2": 82.0, "average": 99.0}, ["rte", "sst2"], [paper.AVERAGE])
    assert [cells[1:] for cells in beside] == [["81.0", "81.0", "81.0"], ["-", "-1.0", "-18.0"], ["-", "yes", "no"]]
    (alone,) = sections(made[:3])[0].rows
    assert [cells[1:] for cells in paper._comparison(alone, {"sst2": 82.0}, ["sst2"], [])] == [["-"]] * 3


@pytest.mark.parametrize(
    ("selector", "settings", "part"),
    [
        ("outlier_channels", {"part": "mlp"}, "mlp"),
        ("outlier_channels:mlp", {}, "mlp"),
        ("outlier_channels:mlp", {"part": "mlp"}, "mlp"),
        ("outlier_channels", {}, "top"),
    ],
)
def test_a_part_is_a_setting_or_stands_in_the_name(selector, settings, part):
    row = SimpleNamespace(selector=selector, records=[record(selector=selector, selector_settings=settings)])
    assert paper_join._part(row) == part
