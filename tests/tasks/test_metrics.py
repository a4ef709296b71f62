"""Metrics against MeZO's, their error bars, and the same numbers from the `evaluate` library."""

import math
import statistics

import pytest
from kits.task_kit import golden

from zobench.errors import ZobenchError
from zobench.tasks.metrics import accuracy, as_evaluate_metric, em, f1, mean, normalise, standard_error

PAIRS = golden("metrics")


@pytest.mark.parametrize("pair", PAIRS, ids=[p["pred"] or "nothing" for p in PAIRS])
def test_text_metrics(pair):
    assert normalise(pair["pred"]) == pair["normalized"]
    assert f1(pair["pred"], pair["gold"]) == pytest.approx(pair["f1"], abs=1e-12)
    assert f1(pair["pred"], pair["gold"]) == pytest.approx(pair["nondiff_f1"], abs=1e-12)
    assert em(pair["pred"], pair["gold"]) == pair["em"]


def test_f1_counts_a_word_as_often_as_it_stands():
    assert f1("ha ha", ["ha ha"]) == 1.0 and f1("ha ha ha", ["ha"]) == 0.5 and f1("ha", ["ha ha ha"]) == 0.5


def test_no_answer_is_all_or_nothing():
    assert f1("there is no answer", ["no answer"]) == 0.0 and f1("No Answer!", ["no answer", "x"]) == 1.0


def test_accuracy():
    assert (accuracy(1, (1,)), accuracy(0, (1,)), accuracy(2, (0, 2))) == (1.0, 0.0, 1.0)


def test_error_bars():
    hits = [1.0, 0.0, 1.0, 1.0]
    assert standard_error("accuracy", hits) == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert standard_error("accuracy", [1.0, 0.0] * 50) == pytest.approx(0.05)
    scores = [0.0, 0.25, 1.0]
    assert standard_error("f1", scores) == pytest.approx(statistics.stdev(scores) / math.sqrt(3))
    assert standard_error("accuracy", [1.0] * 5) == standard_error("f1", [0.5]) == 0.0


def test_nan_stays_and_nothing_is_an_error():
    assert all(math.isnan(standard_error(metric, [1.0, math.nan])) for metric in ("accuracy", "f1"))
    assert math.isnan(mean([1.0, math.nan]))
    with pytest.raises(ZobenchError, match="no items to score"):
        mean([])


def test_unknown_metric():
    with pytest.raises(ZobenchError, match=r"unknown metric 'acuracy'; did you mean 'accuracy'\?"):
        as_evaluate_metric("acuracy")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "predictions", "references"),
    [
        ("accuracy", [0, 1, 2], [[0], [0], [1, 2]]),
        ("f1", [p["pred"] for p in PAIRS], [p["gold"] for p in PAIRS]),
        ("em", [p["pred"] for p in PAIRS], [p["gold"] for p in PAIRS]),
    ],
)
def test_as_evaluate_metric(name, predictions, references):
    pytest.importorskip("evaluate")
    item = {"accuracy": accuracy, "f1": f1, "em": em}[name]
    expected = mean([item(p, r) for p, r in zip(predictions, references, strict=True)])
    assert as_evaluate_metric(name).compute(predictions=predictions, references=references) == {name: expected}
