"""What commands decide by themselves: when they fail, what fits a screen, which words a page has for a case."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from kits.records import record

from zobench import ZobenchError
from zobench.cli import around, main, reproduce, run, screen, show
from zobench.plugins.presets import Preset
from zobench.report.first.page import Column


@pytest.mark.parametrize(
    ("what", "failed", "says"),
    [
        ("parts", False, "zobench status r says"),
        ("parts", True, "zobench status r says"),
        ("sums", True, "zobench status r says"),
        ("sums", False, "the last but one, is that block"),
    ],
)
def test_what_mends_a_page_without_its_rows(what, failed, says):
    assert says in around._mend(what, Path("r"), failed=failed)


def test_a_column_stays_while_it_fits_to_the_letter():
    columns = [Column(heading, ("1",)) for heading in ("ab", "cd", "ef", "gh")]
    assert screen._table(columns, 14)[-1].split() == ["1", "1", "1", "1"]
    assert screen._table(columns, 13)[-1] == "(wider: gh)"
    assert [len(part) for part in screen._chunks(columns, 10)] == [3, 2]
    assert [len(part) for part in screen._chunks(columns, 9)] == [2, 2, 2]


@pytest.mark.parametrize(("grid", "says"), [("paper", "an estimator's lr_grid"), ("small", "an estimator's small_lrs")])
def test_a_preset_says_which_rates_it_has(grid, says):
    nobody = SimpleNamespace(names=lambda kind: [])
    assert show._preset_facts(nobody, "mine", Preset(grid=grid))["learning rates"] == says


def test_status_says_what_helps_for_failures_that_it_does_not_list(monkeypatch, capsys):
    lost = [record(seed=n, status="error", error="x") for n in range(12)] + [record(seed=12, status="oom", error="x")]
    found = SimpleNamespace(
        failed={one["id"]: one for one in lost}, done={}, running={}, left={}, begun=(), to_go_s=None
    )
    monkeypatch.setattr("zobench.report.progress_of_grid.look", lambda results: found)
    assert main(["status", "r"]) == 0
    said = capsys.readouterr().out
    assert "... and 1 more" in said and "\noom: " in said and "\nerror: " in said


@pytest.mark.parametrize(
    ("faults", "status", "failed"), [([], "ok", False), (["an executor lost a cell"], "ok", True), ([], "oom", True)]
)
def test_a_reproduction_fails_with_its_cells_and_its_executor(monkeypatch, faults, status, failed):
    of = SimpleNamespace(order=SimpleNamespace(dtype="float32"))
    plan = SimpleNamespace(run_cell=of, plugins=None, todo=[], done={}, faults=faults)
    for name, answer in (
        ("prepare", None),
        ("execute", [{"id": "a", "status": status, "error": "x"}]),
        ("board", None),
    ):
        monkeypatch.setattr(f"zobench.run.whole_run.{name}", lambda *given, answer=answer: answer)
    monkeypatch.setattr("zobench.run.progress.Progress", lambda *given: None)
    assert reproduce._run(SimpleNamespace(plans=[plan]), None) is failed


@pytest.mark.parametrize(
    ("ranks", "launched", "asked"), [(1, False, []), (3, False, [3]), (1, True, [0]), (2, True, [2])]
)
def test_processes_join_where_they_are_asked_for_or_torchrun_started_them(monkeypatch, ranks, launched, asked):
    seen = []

    @contextmanager
    def joined(size):
        yield seen.append(size)

    monkeypatch.setattr("zobench.run.group.joined", joined)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with run._joined(ranks, "local", None) as group:
        assert group is None and seen == asked


@pytest.mark.parametrize("steps", [1, 30])
def test_a_bench_has_a_batch_for_each_step_of_its_warm_up_too(monkeypatch, steps):
    from zobench.cli import bench

    monkeypatch.setattr("zobench.bench.work.made_up", lambda *given, **how: how["batches"])
    chosen = {"warmup": 10, "steps": steps, "batch_size": 2, "cuda_graphs": False}
    plugins = SimpleNamespace(task=lambda name: SimpleNamespace(train_loss="classification"))
    assert bench._work("copa", None, plugins, chosen, None) == 10 + steps


@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [({}, {"own.py": "b"}, False), ({"own.py": "b"}, {"own.py": "b"}, False), ({"own.py": "a"}, {"own.py": "b"}, True)],
)
def test_weights_are_rebuilt_by_the_code_that_moved_them_where_it_is_known(monkeypatch, then, now, refused):
    """Early records do not say which it was."""
    from zobench.cli import replay

    one = record(code=then)
    monkeypatch.setattr("zobench.report.store.find", lambda results, cell: one)
    monkeypatch.setattr("zobench.report.store.beside", lambda *given, **how: ([], []))
    plugins = SimpleNamespace(code=lambda used: now)
    if not refused:
        assert replay.found_cell(Path("r"), one["id"], plugins) is one
    else:
        with pytest.raises(ZobenchError, match="the code of own.py was a then and is b now"):
            replay.found_cell(Path("r"), one["id"], plugins)
