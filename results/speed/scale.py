"""What spreading and sharing work are worth: `python results/speed/scale.py jobs|grid [--repeat N] [--out FILE]`.

jobs: the main command one cell after the other, and with `--jobs auto`: wall time on an idle machine, scores compared.
grid: four learning rates x three seeds of one task by one command, by a process a cell (a seed each, its four rates),
and by a process a run (a rate and a seed each): CPU time, which other programs do not lengthen.

Commands take turns; what is printed are medians and their ratios. OMP_NUM_THREADS is 1 unless it is set: scores are
equal where the number of threads is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from measured import machine, written

MAIN = ("run", "--estimator", "mezo", "--selector", "first_outlier", "--tasks", "all")
GRID = ("run", "--estimator", "mezo", "--selector", "first_outlier", "--tasks", "sst2")
RATES, SEEDS = ("3e-4", "1e-3", "3e-3", "1e-2"), ("0", "1", "2")


def timed(commands: Sequence[Sequence[str]], results: Path) -> tuple[float, float]:
    """Wall and CPU seconds of commands, one after the other, that leave records in one folder."""
    env = {"OMP_NUM_THREADS": "1", **os.environ}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for words in commands:
        line = [sys.executable, "-m", "zobench", *words, "--results", str(results)]
        subprocess.run(line, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scores(results: Path) -> dict[str, object]:
    """The test score of each cell."""
    found = (json.loads(path.read_text()) for path in sorted((results / "cells").glob("*.json")))
    return {record["id"]: record["metrics"]["test"] for record in found}


def jobs(repeat: int) -> dict[str, object]:
    """Wall seconds of the main command."""
    walls: dict[str, list[float]] = {"one": [], "auto": []}
    told = []
    for turn in range(repeat):
        for how, more in (("one", ()), ("auto", ("--jobs", "auto"))):
            with tempfile.TemporaryDirectory() as folder:
                wall, _ = timed([[*MAIN, *more]], Path(folder))
                walls[how].append(wall)
                told.append(scores(Path(folder)))
                print(f"{turn + 1}/{repeat} {how}: {wall:.1f} s", flush=True)
    one, auto = (statistics.median(walls[how]) for how in ("one", "auto"))
    equal = all(other == told[0] for other in told)
    return {"one_s": one, "auto_s": auto, "ratio": auto / one, "equal_scores": equal, "cores": os.cpu_count()}


def grid(repeat: int) -> dict[str, object]:
    """CPU seconds of a grid."""
    rates = ",".join(RATES)
    ways = {
        "shared": [[*GRID, "--lr", rates, "--seeds", ",".join(SEEDS)]],
        "a process a cell": [[*GRID, "--lr", rates, "--seeds", seed] for seed in SEEDS],
        "a process a run": [[*GRID, "--lr", rate, "--seeds", seed] for seed in SEEDS for rate in RATES],
    }
    cpus: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repeat):
        for way, commands in ways.items():
            cpu = 0.0
            for words in commands:  # each with a folder of its own: nothing is shared by one
                with tempfile.TemporaryDirectory() as folder:
                    cpu += timed([words], Path(folder))[1]
            cpus[way].append(cpu)
            print(f"{turn + 1}/{repeat} {way}: {cpu:.1f} s of CPU", flush=True)
    medians = {way: statistics.median(of) for way, of in cpus.items()}
    ratios = {f"{way} / shared": seconds / medians["shared"] for way, seconds in medians.items() if way != "shared"}
    return {"cpu_s": medians, "ratios": ratios}


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("jobs", "grid"))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file")
    given = parser.parse_args()
    made = {"jobs": jobs, "grid": grid}[given.what](given.repeat)
    print(json.dumps(made, indent=1))
    clock = {"jobs": "wall time", "grid": "CPU time of processes"}[given.what]
    command = f"python results/speed/scale.py {given.what} --repeat {given.repeat}"
    written(given.out, machine(command, clock, threads=int(os.environ.get("OMP_NUM_THREADS", "1"))), made)


if __name__ == "__main__":
    main()
