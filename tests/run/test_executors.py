"""An executor may spread cells as it likes; it may not lose, repeat or invent one."""

from __future__ import annotations

import json

import pytest
from kits.run_kit import QUICK, plugin_file

from zobench.cli import main
from zobench.errors import ZobenchError
from zobench.plugins.registry import load_plugins
from zobench.run.account import made_executor

BODIES = {
    "loses": ("yield from map(run_cell, cells[1:])", "lost sst2-mezo-all-s0-"),
    "loses all": ("yield from ()", "lost sst2-mezo-all-s1-"),
    "repeats": ("for c in cells: r = run_cell(c); yield r; yield r", "twice"),
    "invents": (
        "yield {'id': 'x', 'status': 'ok'}; yield from map(run_cell, cells)",
        "'x', which is no cell of this run",
    ),
    "never ran": ("yield {'id': cells[0].id, 'status': 'ok'}; yield run_cell(cells[1])", "which was never run"),
    "yields none": ("yield from map(run_cell, cells); yield None", "yielded NoneType, not a record"),
    "empties the list": ("r = [run_cell(c) for c in cells]; cells.clear(); yield r[0]", "lost sst2-mezo-all-s1-"),
}


def run(world, tmp_path, body, *more):
    source = f"""
        from zobench import hookimpl

        class Odd:
            def run(self, cells, run_cell):
                {body}

        @hookimpl
        def zobench_executors():
            return {{"odd": Odd}}
    """
    words = ["run", "--plugin", str(plugin_file(tmp_path, source)), "--executor", "odd", "--model", str(world.model)]
    words += ["--data-dir", str(world.data), "--offline", "--tasks", "sst2", "--estimator", "mezo", "--lr", "1e-3"]
    words += ["--seeds", "0,1", "--results", str(tmp_path / "r"), "--device", "cpu"]
    return main([*words, *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}"))])


@pytest.mark.parametrize("name", BODIES)
def test_what_an_executor_may_not_do_is_told_and_exits_1(world, tmp_path, capsys, name):
    body, says = BODIES[name]
    status = run(world, tmp_path, body)
    err = capsys.readouterr().err
    told = [line for line in err.splitlines() if line.startswith("zobench: error: executor odd")]
    assert told and says in " ".join(told), err
    assert status != 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return None", "executor odd raised TypeError: 'NoneType' object is not iterable"),
        (
            "yield run_cell(cells[0]); raise OSError('cluster gone')",
            "executor odd raised OSError: cluster gone (plugin_",
        ),
        ("import sys; yield run_cell(cells[0]); sys.exit(0)", "executor odd raised SystemExit: 0"),
    ],
)
def test_an_executor_that_raises_is_one_line_and_what_is_done_is_kept(world, tmp_path, capsys, body, says):
    assert run(world, tmp_path, body) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("zobench: error:")]
    assert len(errors) == 1 and says in errors[0] and "what is done is kept" in errors[0]
    kept = [json.loads(p.read_text())["status"] for p in (tmp_path / "r" / "cells").glob("*.json")]
    assert kept == (["ok"] if "yield" in body else [])


def test_any_order_will_do(world, tmp_path):
    assert run(world, tmp_path, "yield from map(run_cell, reversed(cells))") == 0


def test_an_executor_has_the_settings_that_were_given():
    assert made_executor(load_plugins(), "local", {}).jobs == 1
    assert made_executor(load_plugins(), "local", {"jobs": 3}).jobs == 3
    with pytest.raises(ZobenchError, match="executor"):
        made_executor(load_plugins(), "nowhere", {})
