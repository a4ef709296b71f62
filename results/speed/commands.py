"""What commands cost in two checkouts: `python results/speed/commands.py OLD NEW [--what start,main,kept]`.

start: `show estimator` and a dry run of one cell. main: the main command on three tasks, a process each. `kept`: a loss
of a SQuAD batch on the embedded model of NEW, with what tensors free kept (zobench.run.heap) and given back.

Checkouts take turns; CPU seconds, children's too, which other programs lengthen by what they take of the caches alone;
medians and ratios. One thread. The test scores of both are compared.
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
from pathlib import Path

from measured import machine, written

CELL = ("run", "--estimator", "mezo", "--selector", "first_outlier", "--tasks")
START = {"show estimator": ("show", "estimator", "mezo"), "dry run": (*CELL, "sst2", "--dry-run")}
MAIN = {f"main command, {task}": (*CELL, task) for task in ("sst2", "copa", "squad")}
KEPT = """
import resource, statistics, sys, time
import torch
from zobench.bench.lengths import shipped
from zobench.bench.sides import Side, objective
from zobench.bench.work import made_up
from zobench.plugins.registry import load_plugins
from zobench.run.heap import keep_freed
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed()
plugins = load_plugins()
loaded, task = plugins.model("embedded")(dtype="float32", device="cpu"), plugins.task("squad")
work = made_up("squad", task.train_loss, shipped("squad"), loaded, batch_size=16, batches=1)
look = objective(Side("flat", "full", True), work, loaded, work.batches[0])
look()
seconds, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    start = time.process_time()
    loss = look()
    seconds.append(time.process_time() - start)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(1e3 * statistics.median(seconds), faults // 8, loss.item())
"""


def environment(checkout: Path) -> dict[str, str]:
    """Imports from this checkout, one thread."""
    path = os.pathsep.join(str(checkout / part) for part in ("", "plugins", "tasks", "world"))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def seconds(words: tuple[str, ...], checkout: Path, results: Path) -> float:
    """CPU seconds of a command of zobench."""
    more = ("--results", str(results)) if words[0] == "run" else ()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-m", "zobench", *words, *more]
    subprocess.run(
        line, env=environment(checkout), cwd=results, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def scores(results: Path) -> list[object]:
    """The test values of the cells in a folder."""
    return [json.loads(path.read_text())["metrics"]["test"]["value"] for path in sorted(results.glob("cells/*.json"))]


def commands(named: dict[str, tuple[str, ...]], old: Path, new: Path, repeat: int) -> dict[str, object]:
    """Median seconds of each command in both checkouts."""
    found: dict[str, object] = {}
    for name, words in named.items():
        taken: dict[str, list[float]] = {"old": [], "new": []}
        said: dict[str, list[object]] = {}
        for _ in range(repeat):
            for side, checkout in (("old", old), ("new", new)):
                with tempfile.TemporaryDirectory() as folder:
                    taken[side].append(seconds(words, checkout, Path(folder)))
                    said[side] = scores(Path(folder))
        was, now = (statistics.median(taken[side]) for side in ("old", "new"))
        equal = {"same test value": said["old"] == said["new"]} if said["new"] else {}
        found[name] = {"old_s": round(was, 2), "new_s": round(now, 2), "ratio": round(now / was, 3), **equal}
        print(name, found[name], flush=True)
    return found


def kept(new: Path, repeat: int) -> dict[str, object]:
    """Milliseconds of a forward and the pages that the system made for it, with freed memory kept or not."""
    taken: dict[str, list[list[float]]] = {"left": [], "kept": []}
    for _ in range(repeat):
        for how in taken:
            done = subprocess.run(
                [sys.executable, "-c", KEPT, how], env=environment(new), check=True, capture_output=True, text=True
            )
            taken[how].append([float(word) for word in done.stdout.split()])
    found: dict[str, object] = {}
    for how, runs in taken.items():
        ms, pages, _ = (statistics.median(column) for column in zip(*runs, strict=True))
        found[how] = {"ms": round(ms, 1), "pages": int(pages)}
    found["same loss"] = len({run[2] for runs in taken.values() for run in runs}) == 1
    print("kept", found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--what", default="start,main,kept")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    old, new, what = given.old.absolute(), given.new.absolute(), given.what.split(",")
    found: dict[str, object] = {}
    for name, named in (("start", START), ("main", MAIN)):
        if name in what:
            found |= commands(named, old, new, given.repeat)
    if "kept" in what:
        found["a loss of a SQuAD batch"] = kept(new, given.repeat)
    at = {
        side: subprocess.run(
            ["git", "-C", str(place), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for side, place in (("old", old), ("new", new))
    }
    command = f"python results/speed/commands.py OLD NEW --what {given.what} --repeat {given.repeat}"
    written(given.out, machine(command, "process time", commits=at, threads=1), found)


if __name__ == "__main__":
    main()
