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


@pytest.mark.slow
def test_fifty_kills_over_all_estimators_and_engines(killed):
    said = killed("--kills", "50", "--longest", "3")
    assert "50 kills; " in said
    lost = float(said.split("lost a kill: at most ")[1].split(" steps, ")[1].split(" s")[0])
    assert lost <= 5.0
