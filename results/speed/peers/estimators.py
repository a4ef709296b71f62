"""One training step over all weights of the embedded model by several estimators, at equal forwards beside MeZO's.

    python results/speed/peers/estimators.py --estimators mezo,adamezo,sensitive_sparse,agzo --out estimators.json

In turns, one thread, process time; medians of the steps after a warm-up, in which methods fill what they remember.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import machine, model_of, written

from zobench.bench.lengths import shipped
from zobench.bench.sides import Side, objective, scope_of
from zobench.bench.work import Work, made_up
from zobench.models.load import LoadedModel
from zobench.plugins.registry import load_plugins
from zobench.protocol.protocol import computation_from
from zobench.run.method import Method, applied
from zobench.run.speed import STILL

WARMUP = 12
SIDE = Side("auto", "full", True)


def timed(name: str, loaded: LoadedModel, work: Work, steps: int) -> tuple[list[float], int]:
    """Process seconds of steps after the warm-up, and the forwards of one."""
    cls, taken, looks = load_plugins().estimator(name), [], 0
    wish = computation_from({"rows": "packed", "noise": "per_tensor"})
    method = Method(cls, dict(cls.needs), wish)
    with applied(method, loaded, scope_of(SIDE, loaded, 0), lr=STILL, seed=0, keep=lambda p: p) as on:
        for i in range(WARMUP + steps):
            look, before = (
                objective(SIDE, work, loaded, work.batches[i % len(work.batches)]),
                on.estimator.forwards.total(),
            )
            start = time.process_time()
            on.estimator.step(look)
            if i >= WARMUP:
                taken.append(time.process_time() - start)
                looks = on.estimator.forwards.total() - before
    return taken, looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimators", default="mezo,adamezo,sensitive_sparse,agzo")
    parser.add_argument("--tasks", default="copa,sst2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="timed in each round")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    loaded, plugins, found = model_of("embedded"), load_plugins(), dict[str, Any]()
    names = list(dict.fromkeys(["mezo", *given.estimators.split(",")]))
    for task in given.tasks.split(","):
        of = plugins.task(task)
        work = made_up(task, of.train_loss, shipped(task), loaded, batch_size=16, batches=8)
        taken: dict[str, list[float]] = {name: [] for name in names}
        looks: dict[str, int] = {}
        for _ in range(given.rounds):
            for name in names:
                seconds, looks[name] = timed(name, loaded, work, given.steps)
                taken[name] += seconds
        each = {name: statistics.median(of) / looks[name] for name, of in taken.items()}
        found[task] = {
            "ms a step": {name: round(1e3 * statistics.median(of), 2) for name, of in taken.items()},
            "forwards a step": looks,
            "times mezo at equal forwards": {name: round(s / each["mezo"], 2) for name, s in each.items()},
        }
        print(task, found[task], flush=True)
    written(given.out, found, machine())


if __name__ == "__main__":
    main()
