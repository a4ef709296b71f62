import pytest
from kits.records import record

from zobench.report import fitted_cost


def run(selector, parameters, task, step_s, **more):
    one = record(selector=selector, task=task, **more)
    one["scope"]["parameters"] = parameters
    one["time"]["step_s"] = step_s
    return one


def test_it_finds_what_made_the_times():
    """T = 2 F + gamma |S| with F of 1 and 3 seconds and a microsecond a parameter."""
    sizes = {"all": 1_000_000, "layer:1": 100_000}
    made = [run(s, n, task, 2 * f + 1e-6 * n) for task, f in (("sst2", 1.0), ("drop", 3.0)) for s, n in sizes.items()]
    (found,) = fitted_cost.fitted(made)
    assert found.fit.gamma == pytest.approx(1e-6) and found.fit.forward_s == pytest.approx({"sst2": 1.0, "drop": 3.0})
    assert found.explained == pytest.approx(1.0)
    page = fitted_cost.markdown([found])
    assert "explains 100.0 %" in page and " 100,000 |" in page and page.count("1.43x") == 2  # (2 + 1) / (2 + 0.1)


def test_estimators_and_devices_are_fitted_apart_and_one_scope_is_no_fit():
    made = [run("all", 10, "sst2", 1.0), run("layer:1", 5, "sst2", 0.5, estimator="lozo")]
    assert fitted_cost.fitted(made) == []
    failed = run("layer:1", 5, "sst2", 0.5)
    failed["status"] = "error"
    assert fitted_cost.fitted([*made, failed]) == []
    assert len(fitted_cost.fitted([*made, run("layer:1", 5, "sst2", 0.5)])) == 1
