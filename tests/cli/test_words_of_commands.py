"""What commands say in numbers and keep in files: sizes, times, options; what does not fit is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from zobench.cli import dry_run, fetch, run_config


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0123, "12.3 ms"), (0.9994, "999 ms"), (0.9996, "1.00 s"), (1.0, "1.00 s"), (61.234, "61.23 s")],
)
def test_a_step_is_told_in_seconds_or_thousandths(seconds, said):
    assert dry_run._second(seconds) == said


@pytest.mark.parametrize(("n", "said"), [(999, "999"), (1000, "1 k"), (10**6, "1 M"), (1_234_000_000, "1.23 G")])
def test_a_scope_is_told_in_thousands(n, said):
    assert dry_run._many(n) == said


def test_what_is_reported_later_is_counted_where_it_does_not_fit(monkeypatch):
    """Cells of tuning seeds and those that come after them."""
    monkeypatch.setattr(dry_run, "_fits", lambda estimate, cell, size: cell.fits)
    monkeypatch.setattr("zobench.run.estimate.Estimate", lambda outline: None)
    now, then = ([SimpleNamespace(fits=fits) for fits in of] for of in ((True, False), (True, False, False)))
    told: list[str] = []
    later = SimpleNamespace(expected=lambda plugins: then, only=lambda cells: cells)
    plan = SimpleNamespace(outline=1, later=later, todo=now, plugins=SimpleNamespace(warn=told.append))
    dry_run.keep_fitting(plan, "16GB")
    assert told == ["3 cells hold more than --max-memory 16GB and are left out"]
    assert plan.todo == now[:1] and plan.later == then[:1]


def test_a_model_that_was_fetched_is_told_in_gib(monkeypatch, tmp_path):
    for name, size in (("model.safetensors", 3 * 2**29), ("config.json", 2**28)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    found = SimpleNamespace(path=str(tmp_path), name="org/m", revision="abc")
    monkeypatch.setattr("zobench.models.folder.find", lambda name, **how: found)
    monkeypatch.setattr("zobench.plugins.declared.revision", lambda plugins, name: None)
    plugins = SimpleNamespace(names=lambda kind: [])
    assert fetch._model("org/m", plugins, True) == f"model org/m at abc: 1.75 GiB in {tmp_path}"


def test_options_are_kept_that_are_not_the_usual_ones():
    usual = {"estimator": None, "seeds": "0", "steps": None, "offline": False, "plugin": (), "dry_run": False}
    given = {"estimator": "mezo", "seeds": "0", "steps": 20, "offline": False, "plugin": (), "dry_run": True}
    params = [SimpleNamespace(name=name, default=value) for name, value in usual.items()]
    context = SimpleNamespace(command=SimpleNamespace(params=params), params=given, obj=None)
    assert run_config.as_toml(context).splitlines()[1:] == ['estimator = "mezo"', "steps = 20"]
