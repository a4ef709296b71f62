import math

import pytest

from zobench.report import sensitivity, stats


def look(block, seed, batch, plus, minus, **more):
    return {
        "task": "sst2",
        "block": block,
        "parameters": 4,
        "seed": seed,
        "batch": batch,
        "base": 1.0,
        "plus": plus,
        "minus": minus,
        "slope": None,
        "gradient": None,
        **more,
    }


def test_what_looks_say_by_hand():
    """Two directions, two batches; eps 0.5, so that a projected gradient is the difference itself."""
    looks = [look(0, 0, 0, 1.3, 0.9), look(0, 0, 1, 1.1, 0.9), look(0, 1, 0, 0.8, 1.2), look(0, 1, 1, 1.1, 1.0)]
    (one,) = sensitivity.blocks(looks, 0.5)
    assert one.up.mean == pytest.approx((0.3 + 0.1 + 0.2 + 0.1) / 4)
    assert one.down.mean == pytest.approx((0.1 + 0.1 + 0.2 + 0.0) / 4)
    assert one.change.mean == pytest.approx((one.up.mean + one.down.mean) / 2)
    first = 0.3 / (0.1 * math.sqrt(2))  # slopes 0.4 and 0.2
    second = 0.15 / (0.25 * math.sqrt(2))  # -0.4 and 0.1
    assert one.signal.mean == pytest.approx((first + second) / 2)
    assert one.agreement.mean == pytest.approx((1.0 + 0.5) / 2)
    assert one.alignment is None
    assert one.change.half() > 0


def test_a_batch_without_a_slope_agrees_with_none_and_a_direction_without_a_value_leaves_none():
    of_direction = ((1.2, 1.0), (1.1, 1.1), (1.3, 1.2))  # beside 0.8 and 1.0, 0.9 and 0.9, 0.8 and 0.9
    against = ((0.8, 1.0), (0.9, 0.9), (0.8, 0.9))
    looks = [look(0, s, k, of_direction[s][k], against[s][k]) for s in range(3) for k in range(2)]
    (one,) = sensitivity.blocks(looks, 0.5)
    assert one.agreement.mean == pytest.approx((0.5 + 1.0 + 1.0) / 3)
    assert one.signal is None, "equal slopes have no spread"


def test_alignment_is_the_cosine_times_the_root_of_the_size():
    up = look(0, 0, 0, 1.2, 0.9, slope=3.0, gradient=2.0)
    against = look(0, 0, 0, 0.9, 1.2, slope=3.0, gradient=2.0)
    assert (sensitivity.alignment(up), sensitivity.alignment(against)) == (1.5, -1.5)


def test_the_page_names_the_most_sensitive_and_the_outlier():
    looks = [look(b, s, k, 1 + 0.1 * (b + 1) + 0.01 * s, 0.95) for b in (0, 1) for s in (0, 1) for k in (0, 1)]
    page = sensitivity.markdown(looks, 1e-3, {"sst2": 0})
    assert "Most sensitive: block 1; the first outlier block: 0." in page
    assert "| 0 (first outlier) |" in page
    assert "there is none" in sensitivity.markdown(looks, 1e-3, {"sst2": None})
    assert sensitivity.most_sensitive(sensitivity.blocks(looks, 1e-3)) == 1


@pytest.mark.parametrize(
    ("mean", "half", "decimals", "said"),
    [
        (0.01234, 0.00112, None, "0.0123 ± 0.0011"),
        (1.234, 0.5, None, "1.23 ± 0.50"),
        (345.6, 12.3, None, "346 ± 12"),
        (34567.8, 1234.0, None, "34568 ± 1234"),
        (3.2e-12, 1e-13, None, "0.00000000 ± 0.00000000"),
        (0.25, 0.0, None, "0.25 ± 0.00"),
        (0.0, 0.0, None, "0 ± 0"),
        (0.01234, 0.00112, 2, "0.01 ± 0.00"),
    ],
)
def test_numbers_are_shown_to_two_figures_of_their_interval(mean, half, decimals, said, monkeypatch):
    effect = stats.score({0: [mean, mean]})
    monkeypatch.setattr(type(effect), "half", lambda _: half)
    assert sensitivity.plus_minus(effect, decimals) == said


def test_what_is_not_known_has_no_number():
    assert sensitivity.plus_minus(None) == sensitivity.plus_minus(None, 2) == "-"
