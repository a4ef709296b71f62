"""results/speed/gpu.sh from its first line to its last, on a pretend device and a small shape."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_script_writes_its_board(tmp_path):
    asked = dict(
        SHAPES="ci", TASKS="copa", STEPS="1", WARMUP="1", DTYPE="float32", MINUTES="36", PLANNED="30", OUT=str(tmp_path)
    )
    asked["PYTEST_ARGUMENTS"] = "--collect-only"
    environment = {**os.environ, **asked, "PYTHON": f"{sys.executable} -m kits.pretend_cuda"}
    script = ROOT / "results" / "speed" / "gpu.sh"
    ran = subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    board = (tmp_path / "gpu-ci.md").read_text()
    assert "random ci, float32" in board and "official full" in board and "GB/s" in board and "TFLOP/s" in board
    made = json.loads((tmp_path / "gpu-ci.json").read_text())
    assert made["environment"]["device"] == "cuda:0" and made["environment"]["multiprocessors"] == 132
    rows = {side["name"]: side for side in made["tasks"]["copa"]["sides"]}
    scopes = ("full", "layer", "sparse_mezo/all", "mezo/outlier_channels:top")
    assert set(rows) >= {f"{engine} {scope}" for engine in ("official", "auto") for scope in scopes}
    assert all(side["weight_gbs"] > 0 and side["block_tflops"] > 0 and side["peak_bytes"] > 0 for side in rows.values())
    assert rows["auto mezo/outlier_channels:top"]["first_block"] == 1
    with_graphs = {f"auto {scope}, graphs": rows[f"auto {scope}, graphs"] for scope in ("full", "layer")}
    assert all(side["cuda_graphs"] > 0 and side["capture_s"] > 0 for side in with_graphs.values())
    assert {"full_graphs_vs_none", "layer_graphs_vs_none"} <= set(made["ratios"])
    assert "planned: 1 steps of each" in ran.stderr and made["settings"]["planned_s"]["copa"] > 0
    assert "tests collected" in (tmp_path / "gpu-tests.txt").read_text()
