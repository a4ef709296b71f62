"""Records as a run would leave them, made up: every number is given or follows from what is given."""

from __future__ import annotations

import random
from typing import Any

from zobench.report.identity import cell_id
from zobench.report.known import KnownNames
from zobench.report.record import SCHEMA, PhaseTimes, Record, ScoreInfo, SpeedInfo
from zobench.tasks.metrics import standard_error

PROTOCOL: dict[str, Any] = {"version": "mezo-1", "steps": 100, "eval_every": 25, "num_test": 100, "num_dev": None}
RUN: dict[str, Any] = {"dtype": "float32", "engine": "auto", "noise": "per_tensor", "restore": "auto"}
STANDS = {"zero_shot": "untouched", **dict.fromkeys(("icl", "hidden_probe", "adamw", "sgd"), "reference")}
"""As the plugins declare them."""
KNOWN = KnownNames(STANDS, ("mezo",), {}, ("all",), ("layer",), ("first_outlier",))
LAYERS = {"all": [0, 1, 2, 3], "layer": [1], "first_outlier": [2]}


def items(right: int, n: int = 100, shuffle: object = None) -> list[float]:
    """Scores of n items of which `right` are right: the first, or some of them by the seed `shuffle`."""
    values = [1.0] * right + [0.0] * (n - right)
    if shuffle is not None:
        random.Random(str(shuffle)).shuffle(values)
    return values


def score(values: list[float], metric: str = "accuracy") -> ScoreInfo:
    stderr = standard_error("accuracy", values)  # binomial, whatever the metric
    return ScoreInfo(metric=metric, value=sum(values) / len(values), n=len(values), stderr=stderr, items=values)


def phases(ms: float) -> PhaseTimes:
    """A step of `ms` milliseconds: three quarters forward, the rest shared 2 to 1."""
    s = ms / 1e3
    return PhaseTimes(forward_s=0.75 * s, perturb_s=s / 6, update_s=s / 12, step_s=s)


def record(
    estimator: str = "mezo",
    selector: str = "all",
    task: str = "sst2",
    seed: int = 0,
    *,
    test: list[float] | int = 80,
    zero_shot: list[float] | int = 50,
    status: str = "ok",
    error: str | None = None,
    lrs: tuple[float, ...] = (1e-4, 1e-3, 1e-2),
    lr: float = 1e-3,
    ms: float = 12.0,
    speedup: float | None = 2.0,
    metric: str = "accuracy",
    protocol: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    selector_settings: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    device: str = "cpu",
    **cell: Any,
) -> Record:
    """A record; ints for scores are numbers of right items out of 100. `cell` overrides keys of the cell."""
    trains = estimator != "zero_shot"
    key: dict[str, Any] = {
        "model": "tiny",
        "model_revision": "abc123",
        "task": task,
        "task_version": 1,
        "data": "hub",
        "data_revision": "r1",
        "estimator": estimator,
        "selector": selector if trains else "-",
        "estimator_settings": ({"eps": 0.001} if trains else {}) | (settings or {}),
        "selector_settings": selector_settings or {},
        "run_settings": RUN | (run or {}),
        "lrs": list(lrs) if trains else [],
        "seed": seed,
    } | cell
    protocol = PROTOCOL | (protocol or {})
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "id": cell_id(key, protocol),
        "status": status,
        "protocol": protocol,
        "cell": key,
        **({} if (stands := KNOWN.of(estimator, key["selector"])) is None else {"stands": stands}),
        "scope": scope(LAYERS.get(selector, [0])) if trains else None,
        "selection": {},
        "metrics": {},
        "trials": [],
        "forwards": {},
        "time": {"total_s": 1.0},
        "memory": {"peak_bytes": 3 * 2**20, "weights_bytes": 2**20},
        "environment": {"device_name": device, "processor": "Abacus 1", "started": "2026-01-01T00:00:00Z"},
        "files": {},
        "error": error,
    }
    if status == "ok":
        made["metrics"] = {
            "zero_shot": score(items(zero_shot, shuffle=task) if isinstance(zero_shot, int) else zero_shot, metric),
            "test": score(items(test, shuffle=(task, seed)) if isinstance(test, int) else test, metric),
        }
        made["forwards"] = {"train": 200 * len(lrs) if trains else 0, "eval": 60, "speed": 20 if speedup else 0}
    if trains and status == "ok":
        add_training(made, lrs, lr, ms, speedup)
    return made  # type: ignore[return-value]


def scope(layers: list[int]) -> dict[str, Any]:
    """Of a model of five blocks of 1000 parameters each."""
    n = len(layers)
    return {"parameters": 1000 * n, "fraction": 0.2 * n, "layers": layers, "tensors": 9, "names": ["w"]}


def add_training(made: dict[str, Any], lrs: tuple[float, ...], lr: float, ms: float, speedup: float | None) -> None:
    """What a record of a method that trains has beside scores: steps of `ms` milliseconds, `lr` chosen of `lrs`."""
    made["chosen"] = {"lr": lr, "step": 75}
    made["time"] |= phases(ms)
    made["memory"]["state_bytes"] = 4096
    made["trials"] = [trial(rate) for rate in lrs]
    if speedup is not None:
        made["speed"] = SpeedInfo(
            steps=30, warmup=10, clock="wall", baseline=phases(ms * speedup), own=phases(ms), ratio=speedup
        )


def trial(lr: float, status: str = "ok") -> dict[str, Any]:
    return {
        "lr": lr,
        "status": status,
        "best_step": 75,
        "dev_loss": 0.5,
        "steps": 100,
        "curve": [[25, 0.7], [50, 0.6], [75, 0.5], [100, 0.55]],
    }


def small_board() -> list[Record]:
    """Two tasks, three seeds: references, a clear winner on one task, none on the other, and every way to fail."""
    out: list[Record] = []
    for seed in (0, 1, 2):
        for task in ("copa", "sst2"):
            out.append(record("zero_shot", task=task, seed=seed, test=50, zero_shot=50, speedup=None))
            out[-1]["metrics"]["test"] = out[-1]["metrics"]["zero_shot"]
            out.append(record("adamw", "all", task, seed, test=95, lrs=(1e-5, 1e-4), lr=1e-5, speedup=0.5))
            out.append(record("mezo", "all", task, seed, test=items(70 + seed)))
            best = 95 if task == "sst2" else 72
            out.append(
                record("mezo", "layer", task, seed, test=items(best), selector_settings={"index": [1]}, ms=4, speedup=6)
            )
        out.append(record("sparse_mezo", "all", "sst2", seed, test=items(60), lr=1e-2, ms=9, speedup=1.5))
    failed = {"lozo": ("oom", "out of memory"), "fzoo": ("diverged", "lr 0.01: at step 3: the loss is nan")}
    for estimator, (status, error) in failed.items():
        out.append(record(estimator, "all", "copa", status=status, error=error))
    out.append(record("hizoo", "all", "copa", 0, status="error", error="ValueError: no /home/someone/data/x.jsonl"))
    out.append(record("hizoo", "all", "copa", 1, test=items(65)))
    out.append(record("zo_adam", "all", "copa", status="interrupted", error="interrupted by the user"))
    return out


def trials(losses):
    """One trial a rate: its dev losses at the steps 25, 50, ..."""
    return [
        {
            "lr": lr,
            "status": "ok" if values else "diverged",
            "steps": 25 * len(values),
            "curve": [[25 * (k + 1), v] for k, v in enumerate(values)],
        }
        for lr, values in losses.items()
    ]
