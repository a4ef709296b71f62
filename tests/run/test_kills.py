"""Grids that are killed by SIGKILL at random moments end with the records of one that never was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def killed(results: Path, *words: str) -> str:
    """What the harness (kits.kills) printed; its exit status says whether anything differs in the end."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run(
        [sys.executable, "-m", "kits.kills", "--results", str(results), *words],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("no difference\n")
    return done.stdout


pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks, and /proc")


def test_a_kill(tmp_path):
    """Of a cell that takes longer, or just ends before it."""
    said = killed(tmp_path, "--kills", "1", "--longest", "0.8", "--estimators", "mezo")
    assert " kills; 1 records" in said


@pytest.mark.slow
def test_fifty_kills_over_all_estimators_and_engines(tmp_path):
    said = killed(tmp_path, "--kills", "50", "--longest", "3")
    assert "50 kills; " in said
    lost = float(said.split("lost a kill: at most ")[1].split(" steps, ")[1].split(" s")[0])
    assert lost <= 5.0
