import pytest

from zobench.report import propagation


def test_growth_is_of_each_direction():
    """Two directions; the change grows 2 and 4 times from block 1 to the last."""
    found = [
        {"task": "sst2", "block": 1, "seed": seed, "batch": batch, "change": [0.0, 0.1, 0.1 * grows]}
        for seed, grows in ((0, 2.0), (1, 4.0))
        for batch in (0, 1)
    ]
    (one,) = propagation.blocks(found)
    assert one.own.mean == pytest.approx(0.1) and one.last.mean == pytest.approx(0.3)
    assert one.growth.mean == pytest.approx(3.0) and one.growth.half() > 0
    page = propagation.markdown(found, 1e-3, {"sst2": 1})
    assert "| 1 (first outlier) |" in page and "grows by the factor" in page
