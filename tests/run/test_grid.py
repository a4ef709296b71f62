"""Learning rates beyond a grid whose end is the best."""

import math

import pytest
from kits.run_kit import run

from zobench.protocol.protocol import protocol_from
from zobench.report import leaderboard
from zobench.run.grid import Grid


def tried(rates, losses, further=0):
    """The rates asked for, where a rate's dev loss is `losses(rate)`."""
    grid, out = Grid(rates, further), []
    for lr in grid:
        out.append(lr)
        grid.heard(lr, losses(lr))
    return out


def valley(best):
    return lambda lr: abs(math.log10(lr / best))


def test_a_grid_alone_is_what_it_says():
    assert tried((1e-3, 1e-4), valley(1.0)) == [1e-3, 1e-4]


@pytest.mark.parametrize(
    ("rates", "best", "expected"),
    [
        ((1e-4, 3e-4), 3e-3, [1e-4, 3e-4, 9e-4, 2.7e-3, 8.1e-3]),
        ((3e-4, 1e-4), 3e-5, [3e-4, 1e-4, 3.3e-5, 1.1e-5]),
        ((1e-4, 1e-3, 1e-2), 1e-3, [1e-4, 1e-3, 1e-2]),
        ((1e-4, 1e-3), 1.0, [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        ((1e-4,), 1.0, [1e-4]),
        ((1e-4, 1e-4), 1.0, [1e-4, 1e-4]),
    ],
)
def test_it_goes_on_beyond_the_end_that_is_best(rates, best, expected):
    assert tried(rates, valley(best), further=3) == expected


def test_where_all_fail_lower_rates_are_tried():
    assert tried((1.0, 10.0), lambda lr: None if lr > 0.05 else lr, further=3) == [1.0, 10.0, 0.1, 0.01, 0.001]


def test_the_better_of_two_wins_and_a_failure_is_no_end_to_go_beyond():
    assert tried((1e-3, 1e-2), lambda lr: None if lr > 2e-3 else lr, further=1) == [1e-3, 1e-2, 1e-4]


def test_a_run_tries_them_and_its_record_and_board_say_so(world, tmp_path):
    (record,) = run(world, tmp_path, ["mezo"], lrs=(1e-7, 1e-6), further_lrs=2)
    rates = [t["lr"] for t in record["trials"]]
    losses = {t["lr"]: t["dev_loss"] for t in record["trials"]}
    assert record["cell"]["lrs"] == [1e-7, 1e-6] and record["protocol"]["further_lrs"] == 2
    assert len(rates) > 2 and rates[2] in (1e-8, 1e-5)
    assert record["chosen"]["lr"] == min(losses, key=lambda lr: losses[lr])
    board = leaderboard.render([record])
    assert all(f"{lr:g}" in board for lr in rates)


def test_it_is_part_of_the_protocol_where_it_is_set():
    assert "further_lrs" not in protocol_from({}).record()
    assert protocol_from({"further_lrs": 2}).record()["further_lrs"] == 2
