"""tests/example_plugin, built and installed into a folder of its own: a third party's plugin next to the built-ins."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kits.plugin_kit import install_example

from zobench.cli import main
from zobench.plugins.registry import load_plugins


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    return site


def test_another_process_sees_it_next_to_the_builtins(site):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "zobench", "plugins", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["example"] == {
        "name": "example",
        "dist": "zobench-example",
        "version": "0.1.0",
        "hooks": ["zobench_estimators", "zobench_selectors", "zobench_tasks"],
        "error": None,
    }
    assert found["estimators"]["dist"] == "zobench"


def test_ls_and_show_have_its_names(installed, capsys):
    assert main(["ls", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out) if row["distribution"] == "zobench-example"}
    assert {name: (row["kind"], row["settings"]) for name, row in rows.items()} == {
        "greedy": ("estimator", 2),
        "middle": ("selector", 1),
        "review": ("task", None),
    }
    assert main(["show", "estimator", "greedy"]) == 0
    assert "--set greedy.n=..." in capsys.readouterr().out


def test_its_estimator_passes_the_checks(installed):
    from zobench.testing import check_estimator

    check_estimator(load_plugins(only="example").estimator("greedy"), engines=["flat", "pair"], problems=["mlp"])


@pytest.mark.parametrize(("around", "layers"), [("0", (2,)), ("1", (1, 2, 3)), ("9", (0, 1, 2, 3, 4))])
def test_its_selector_selects(installed, around, layers):
    notes: dict[str, int] = {}
    context = SimpleNamespace(blocks=range(5), note=notes.update, layers=lambda *indices: indices)
    selector = load_plugins(only="example").selector("middle")(around=around)
    assert selector.select(context) == layers and notes == {"middle": 2}


def test_its_task_renders(installed):
    example = load_plugins(only="example").task("review").render({"sentence": "fine .", "label": 1})
    assert example.texts[example.gold or 0] == "Review: fine .\nThe film is good"


def test_without_it_its_names_are_unknown(capsys, monkeypatch):
    monkeypatch.setenv("ZOBENCH_PLUGINS", "")
    assert main(["show", "estimator", "greedy"]) == 2
    assert "unknown estimator 'greedy'" in capsys.readouterr().err
