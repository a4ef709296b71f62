"""The examples run as they are, in a folder of their own, with fewer items and steps, and show what they say."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
from zobench_plugins.presets import SMOKE

ROOT = Path(__file__).parent.parent
SHOWN = {
    "a_method": [r"loss \d\.\d+ -> \d\.\d+\n", r"\n\S* +clipped / all +\d", r"\n\S* +mezo / all +\d"],
    "own_data": [r"\nmezo / all +\d", r"(Ann|Bob|Eve|Max) says: on \w+ I"],
    "own_loop": [r"loss .*: \d\.\d+ -> \d\.\d+\n", "replayed: the same weights, bit for bit"],
}
RECORDS = {"a_method": {("clipped", "sst2"), ("mezo", "sst2")}, "own_data": {("mezo", "mood")}, "own_loop": set()}


def test_every_example_is_run_and_named_in_the_guide():
    names = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    assert names == sorted(SHOWN) == sorted(RECORDS)
    guide = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert [name for name in names if f"(../examples/{name}.py)" not in guide] == []


@pytest.mark.parametrize("name", SHOWN)
def test_it_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = {"num_train": 16, "num_dev": 8, "num_test": 8, "steps": 4, "eval_every": 2, "speed_steps": 1}
    for name_of, size in few.items():
        monkeypatch.setitem(SMOKE.settings, name_of, size)
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    shown = capsys.readouterr().out
    assert [said for said in SHOWN[name] if not re.search(said, shown)] == []
    records = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.glob("runs/cells/*.json")]
    assert {(r["cell"]["estimator"], r["cell"]["task"]) for r in records if r["status"] == "ok"} == RECORDS[name]
    assert len(records) == len(RECORDS[name])


@pytest.mark.parametrize("name", SHOWN)
def test_it_opens_as_a_notebook(name):
    """A title first, and text before each cell of code that follows."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.M)
    assert cells[0] == "" and cells[1].startswith(" [markdown]\n# # ") and len(cells) > 5
    prose = [cell.partition("\n")[2].strip() for cell in cells[1:] if cell.startswith(" [markdown]")]
    assert all(line.startswith("#") for cell in prose for line in cell.splitlines())
