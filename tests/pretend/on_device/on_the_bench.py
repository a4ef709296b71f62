"""results/speed/gpu.sh from its first line to its last, on a pretend device and a small shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_script_writes_its_board(tmp_path):
    asked = dict(SHAPES="ci", TASKS="copa", STEPS="1", WARMUP="1", DTYPE="float32", MINUTES="12", OUT=str(tmp_path))
    asked["PYTEST_ARGUMENTS"] = "--collect-only"
    environment = {**os.environ, **asked, "PYTHON": f"{sys.executable} -m kits.pretend_cuda"}
    script = ROOT / "results" / "speed" / "gpu.sh"
    ran = subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    board = (tmp_path / "gpu-ci.md").read_text()
    assert "random ci, float32" in board and "official full" in board and "GB/s" in board and "TFLOP/s" in board
    made = json.loads((tmp_path / "gpu-ci.json").read_text())
    assert made["environment"]["device"] == "cuda:0" and made["environment"]["multiprocessors"] == 132
    assert {side["name"] for side in made["tasks"]["copa"]["sides"]} >= {
        "official full",
        "official layer",
        "auto layer",
    }
    assert "tests collected" in (tmp_path / "gpu-tests.txt").read_text()
