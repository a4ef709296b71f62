"""Grids that are killed by SIGKILL at random moments end with the records of one that never was."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
from kits import kills

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks, and /proc")


@pytest.fixture
def killed(tmp_path, capsys) -> Callable[..., str]:
    """What the harness (kits.kills) printed; what it returns says whether anything differs in the end."""

    def said(*words: str) -> str:
        status = kills.main(["--results", str(tmp_path), *words])
        out = capsys.readouterr().out
        assert status == 0 and out.endswith("no difference\n"), out
        return out

    return said


def test_a_kill(killed):
    """Of a cell that takes longer; where it ends before it, of the next."""
    assert "1 kills; " in killed("--kills", "1", "--longest", "0.6", "--estimators", "mezo")


def test_a_process_that_ends_by_itself_is_told_of_with_what_it_said(tmp_path):
    said: list[str] = []
    harness = kills.Harness([["run", "-e", "nobody", "--results", str(tmp_path / "r")]], tmp_path / "spied")
    assert harness.run(0, longest_s=0, say=said.append) == 2
    assert len(said) == 1 and said[0].startswith("a process ended by itself with 2: run -e nobody: ")
    assert "unknown estimator" in said[0]


@pytest.mark.slow
def test_fifty_kills_over_all_estimators_and_engines(killed):
    said = killed("--kills", "50", "--longest", "3")
    assert "50 kills; " in said
    lost = float(said.split("lost a kill: at most ")[1].split(" steps, ")[1].split(" s")[0])
    assert lost <= 5.0
