import pytest
from kits.records import record

from zobench.report import curves


def test_parts_are_means_and_keep_their_last_step():
    assert curves.parted([(1, 4.0), (2, 2.0)]) == [(1, 4.0), (2, 2.0)]
    whole = curves.parted([(k, float(k)) for k in range(1, 41)])
    assert len(whole) == curves.PARTS and whole[0] == (2, 1.5) and whole[-1] == (40, 39.5)


def test_methods_stand_apart_and_seeds_together():
    """Two seeds of one method a constant 0.2 apart; another method without a log is not there."""
    records = [record(seed=0), record(seed=1), record("lozo")]
    said = {("mezo", 0): 1.0, ("mezo", 1): 1.2}

    def losses(one):
        start = said.get((one["cell"]["estimator"], one["cell"]["seed"]))
        return [] if start is None else [(k, start - 0.1 * k) for k in range(1, 5)]

    (one,) = curves.curves(records, losses)
    assert (one.task, one.name, one.steps) == ("sst2", "mezo / all", (1, 2, 3, 4))
    assert one.losses == pytest.approx((1.0, 0.9, 0.8, 0.7)) and one.over_seeds[0].half() > 0
    (row,) = [line for line in curves.markdown([one]).splitlines() if line.startswith("| mezo / all |")]
    shown = ["mezo / all", "4", "1.0000 ± 1.2706", "0.9000 ± 1.2706", "0.7000 ± 1.2706", "0.8500"]  # t of 1 df: 12.706
    assert [cell.strip() for cell in row.strip("|").split("|")] == shown
    (alone,) = curves.curves(records[:1], losses)
    assert " 0.9000 |" in curves.markdown([alone]) and "±" not in curves.markdown([alone]).partition("##")[2]
