"""Cells on a Ray cluster that loses a node, and as jobs of submitit that are killed and requeued: the records of local
runs, each cell finished once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from kits.run_kit import QUICK, World, numbers, plugin_file, save_data, save_model

from zobench.cli import main
from zobench.report import store

pytestmark = pytest.mark.slow

WATCHED = """
    import os, time
    from pathlib import Path
    from zobench import hookimpl
    from zobench_plugins.estimators.mezo import MeZO

    HERE = Path({folder!r})

    class Watched(MeZO):
        def iterate(self, losses):
            if self.t == 1:
                (HERE / f"started-{{os.getpid()}}-{{time.monotonic_ns()}}").touch()
            time.sleep(float((HERE / "pause").read_text()))
            return super().iterate(losses)

    @hookimpl
    def zobench_estimators():
        return {{"watched": Watched}}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return World(save_model(folder / "model"), save_data(folder / "data"))


def words(world, tmp_path, results, *more, pause=0.3, seeds="0,1,2"):
    plugin = plugin_file(tmp_path, WATCHED.format(folder=str(tmp_path)))
    (tmp_path / "pause").write_text(str(pause))
    line = ["run", "--model", str(world.model), "--data-dir", str(world.data), "--offline", "--tasks", "sst2,copa"]
    line += ["--plugin", str(plugin), "-e", "watched", "--seeds", seeds, "--lr", "1e-3", "--device", "cpu"]
    return [*line, "--results", str(results), *(x for k, v in QUICK.items() for x in ("--set", f"{k}={v}")), *more]


def read(results):
    records, problems = store.read(results)
    assert not problems
    return {r["id"]: numbers(r) for r in records}


def started(tmp_path):
    return sorted(tmp_path.glob("started-*"))


def test_a_node_of_a_ray_cluster_is_killed_and_nothing_is_lost_or_done_twice(world, tmp_path):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    done: list[int] = []

    def kill() -> None:
        while len(started(tmp_path)) < 3:
            time.sleep(0.1)
        done.append(len(list((tmp_path / "r" / "cells").glob("*.json"))))
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    try:
        killer.start()
        more = ["--executor", "ray", "--set", f"ray.address={cluster.address}"]
        assert main(words(world, tmp_path, tmp_path / "r", *more)) == 0
    finally:
        killer.join(10)
        ray.shutdown()
        cluster.shutdown()
    assert done and done[0] < 6, "it was killed in mid-grid"
    runs = len(started(tmp_path))
    assert main(words(world, tmp_path, tmp_path / "local", pause=0)) == 0
    assert read(tmp_path / "r") == read(tmp_path / "local") and len(read(tmp_path / "r")) == 6
    assert 6 <= runs <= 7, "of the node that was lost the cell at work alone began again"


def task_processes(folder):
    """The processes in which submitit's jobs run."""
    found = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(row.split()[0]) for row in found.splitlines() if "submitit.core._submit" in row and str(folder) in row]


@pytest.mark.parametrize("signum", [signal.SIGUSR2, signal.SIGKILL], ids=["told of its limit", "killed"])
def test_a_job_that_is_ended_goes_on_in_the_next(world, tmp_path, signum):
    pytest.importorskip("submitit")
    results = tmp_path / "r"
    more = ["--executor", "submitit", "--set", "submitit.cluster=local", "--set", "submitit.cpus=1"]
    more += ["--set", "submitit.cells_per_job=2"]
    line = words(world, tmp_path, results, *more, pause=0.5, seeds="0")
    process = subprocess.Popen([sys.executable, "-m", "zobench", *line], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 900
    while not started(tmp_path):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    at_work = task_processes(results)
    assert len(at_work) == 1
    os.kill(at_work[0], signum)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert len(started(tmp_path)) == 3, "two cells, of which one began again"
    assert main(words(world, tmp_path, tmp_path / "local", pause=0, seeds="0")) == 0
    assert read(results) == read(tmp_path / "local") and len(read(results)) == 2
    assert not (results / ".submitit").exists() and not task_processes(results)
