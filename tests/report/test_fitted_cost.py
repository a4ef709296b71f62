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


def test_gamma_has_an_interval_over_tasks_and_cells():
    """One task whose two cells of a size differ by 20 %, at sizes 1 and 3: gamma is half of the difference."""
    made = [run("layer:1", 1, "sst2", 1.0), run("layer:1", 1, "sst2", 1.0, seed=1)]
    made += [run("all", 3, "sst2", t, seed=seed) for seed, t in enumerate((1.8, 2.2))]
    (found,) = fitted_cost.fitted(made)
    assert found.gamma == pytest.approx((0.4, 0.6)) and "(4e+08 to 6e+08) ns" in fitted_cost.markdown([found])
    (alone,) = fitted_cost.fitted(made[1:3])
    assert alone.gamma is None and " to " not in fitted_cost.markdown([alone]).partition("##")[2]
    steeper = [run(s, n, "drop", t) for s, n, t in (("layer:1", 1, 1.0), ("all", 3, 5.0))]
    (both,) = fitted_cost.fitted([*made[1:3], *steeper])
    assert both.gamma == pytest.approx((0.4, 2.0)), "tasks are drawn, too"


def test_estimators_and_devices_are_fitted_apart_and_one_scope_is_no_fit():
    made = [run("all", 10, "sst2", 1.0), run("layer:1", 5, "sst2", 0.5, estimator="lozo")]
    assert fitted_cost.fitted(made) == []
    failed = run("layer:1", 5, "sst2", 0.5)
    failed["status"] = "error"
    assert fitted_cost.fitted([*made, failed]) == []
    assert len(fitted_cost.fitted([*made, run("layer:1", 5, "sst2", 0.5)])) == 1
