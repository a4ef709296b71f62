"""pytest in a process of its own, for tests that another world is to be made for: its environment, its plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

INHERITED = ("PYTEST_XDIST_WORKER", "PYTEST_CURRENT_TEST", "PYTEST_ADDOPTS")


def passed(which: str, words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
    """What it printed of the tests that the marker expression `which` takes, all of which have passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which, *words]
    own = {name: value for name, value in os.environ.items() if name not in INHERITED} | environment
    ran = subprocess.run(command, cwd=cwd, env=own, capture_output=True, text=True, check=False, timeout=1200)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-3000:]
    return ran.stdout
