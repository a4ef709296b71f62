"""The tests of `on_device`, in processes in which torch believes in two GPUs (kits.pretend_cuda): the short in one.

They run on what torch computes on a CPU, under the rules of a GPU: what they cannot see is in that kit's description.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from kits import pretend_cuda
from kits.inner import passed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LONG = {
    "on_all_estimators.py",
    "on_cells.py",
    "on_graphs.py",
    "on_launch_table.py",
    "on_matrix.py",
    "on_memory.py",
    "on_no_float64.py",
    "on_spread_cells.py",
    "on_the_bench.py",
}
FILES = sorted(path.name for path in (HERE / "on_device").glob("on_*.py"))


def processes():
    """The files of each process: those that are short together, those that are long one by one."""
    short = [name for name in FILES if name not in LONG]
    yield pytest.param(short, "not slow", id="short")
    yield pytest.param(short, "slow", marks=pytest.mark.slow, id="further cases of the short")
    for name in FILES:
        if name in LONG:
            yield pytest.param([name], "not slow", marks=pytest.mark.slow, id=name)


def test_every_long_file_is_there():
    assert set(FILES) >= LONG


@pytest.mark.parametrize(("names", "which"), processes())
def test_on_pretend_devices(names, which):
    if (why := pretend_cuda.available()) is not None:
        pytest.skip(why)
    paths = [ROOT, ROOT / "tests", ROOT / "tests" / "run", HERE / "on_device", *filter(None, sys.path)]
    words = ["-p", "kits.pretend_cuda.plugin", "-o", "python_files=on_*.py", "--rootdir", str(ROOT)]
    words += [str(HERE / "on_device" / name) for name in names]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "CUDA_VISIBLE_DEVICES": "0,1"}
    assert " passed" in passed(which, words, ROOT, environment)
