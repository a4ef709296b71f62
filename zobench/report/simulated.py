"""The model that boards are simulated from: how scores vary, estimated from real records; records made by it.

Method m at seed s gets item i of task t right where

    q(p_t + d_m + sigma_mt x_ms) + sqrt(r1) u_i + sqrt(r2) v_mi + sqrt(1 - r1 - r2) e_msi > 0

with x, u, v, e standard normal and q the normal quantile: the score is p_t + d_m on average, whatever the seed adds;
items are hard for all methods alike (r1), or for one of them at all its seeds (r2). sigma_mt is drawn from those that
were measured, so that some methods are steady and some are not. Needs numpy; records are in the project's own layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ZobenchError
from .identity import cell_id
from .record import SCHEMA, Record
from .sections import sections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

NORMAL = NormalDist()
LOWEST, HIGHEST = 0.02, 0.98
"""Scores of a seed stay within these."""

PROTOCOL = {"version": "simulated"}


@dataclass(frozen=True)
class World:
    """What scores are like: estimated from records, or made up."""

    scores: tuple[float, ...]
    """Mean test scores of tasks."""
    items: int
    """Test items of a task."""
    deviations: tuple[float, ...]
    """Standard deviations between seeds of a method on a task, as measured."""
    shared: float
    """r1: latent correlation of two methods on an item."""
    own: float
    """r2: what two seeds of one method have beyond that."""


@dataclass(frozen=True)
class Design:
    """What a board is of: method 0 is the control; `better` is what method 1 is truly better by, on every task."""

    methods: int
    seeds: int
    tasks: int
    better: float = 0.0

    def __str__(self) -> str:
        return f"{self.methods}, {self.seeds}, {self.tasks}"


def estimate(records: Sequence[Record]) -> World:
    """The model's numbers from real records of several methods, tasks and seeds.

    Deviations have the variance of items taken off them. Correlations are those of right answers between seeds and
    between methods, as latent ones (sin(pi r / 2), which holds at scores of a half). Raises ZobenchError for records
    with fewer than two seeds, methods or tasks.
    """
    import numpy as np

    (section, *more) = sections(records)
    trained = [row for row in section.rivals if row.trains and row.complete_on(section.scored)]
    if more or len(trained) < 2 or len(section.scored) < 2:
        raise ZobenchError("a simulation is estimated from one section with two methods and tasks at least")
    scores, deviations, shared, own, sizes = [], [], [], [], []
    for task in section.scored:
        tables = [np.asarray([*row.entry(task).items().values()]) for row in trained]
        if any(table.ndim != 2 or len(table) < 2 for table in tables):
            raise ZobenchError(f"a simulation is estimated from records with items and two seeds: {task} has none")
        sizes.append(tables[0].shape[1])
        scores.append(float(np.mean([table.mean() for table in tables])))
        for row in trained:
            one = row.entry(task).effect
            table = None if one is None else one.tasks[0].splits[0]
            deviations.append(
                0.0 if table is None else math.sqrt(max(0.0, table.ms_seeds - table.ms_both) / table.units)
            )
        shared.append(_correlation(np.asarray([table[0] for table in tables])))
        own.append(float(np.mean([_correlation(table) for table in tables])))
    r1, both = (math.sin(math.pi / 2 * float(np.mean(of))) for of in (shared, own))
    r1 = min(r1, both)
    return World(tuple(scores), round(float(np.mean(sizes))), tuple(sorted(deviations)), r1, both - r1)


def _correlation(table: Array) -> float:
    """The mean correlation of two rows of a table (of those that vary)."""
    import numpy as np

    moving = table[table.std(axis=1) > 0]
    if len(moving) < 2:
        return 0.0
    found = np.corrcoef(moving)
    return float((found.sum() - len(found)) / (len(found) * (len(found) - 1)))


def draw(world: World, design: Design, boards: int, seed: int, *, untouched: bool = False) -> tuple[Array, Array]:
    """Right and wrong answers `[board, method, seed, task, item]` (int8), and true mean scores `[board, method, task]`.

    `untouched`: one method more, as good as the control, to which seeds do nothing: its first seed is the model before
    training.
    """
    import numpy as np

    rng = np.random.RandomState(seed)  # its stream is the same in all versions of numpy
    b, m, s, t, n = boards, design.methods + untouched, design.seeds, design.tasks, world.items
    base = np.asarray([world.scores[k % len(world.scores)] for k in range(t)])
    target = np.repeat(base[None, None, :], m, axis=1)
    target[:, 1:2, :] += design.better
    room = np.minimum(target - LOWEST, HIGHEST - target) / 2.5
    sigma = np.minimum(np.asarray(world.deviations)[rng.randint(len(world.deviations), size=(b, m, t))], room)
    if untouched:
        sigma[:, -1] = 0.0
    p = np.clip(target[:, :, None, :] + sigma[:, :, None, :] * rng.randn(b, m, s, t), LOWEST, HIGHEST)
    latent = np.vectorize(NORMAL.inv_cdf)(p).astype(np.float32)[..., None]
    latent = latent + math.sqrt(world.shared) * rng.randn(b, 1, 1, t, n).astype(np.float32)
    latent += math.sqrt(world.own) * rng.randn(b, m, 1, t, n).astype(np.float32)
    latent += math.sqrt(1 - world.shared - world.own) * rng.randn(b, m, s, t, n).astype(np.float32)
    return (latent > 0).astype(np.int8), _clipped_mean(target, sigma)


def _clipped_mean(mean: Array, sigma: Array) -> Array:
    """The mean of a normal variable that is moved to LOWEST or HIGHEST beyond them."""
    import numpy as np

    sigma = np.maximum(sigma, 1e-9)
    low, high = (LOWEST - mean) / sigma, (HIGHEST - mean) / sigma
    cdf, pdf = np.vectorize(NORMAL.cdf), np.vectorize(NORMAL.pdf)
    inside = mean * (cdf(high) - cdf(low)) - sigma * (pdf(high) - pdf(low))
    found: Array = inside + LOWEST * cdf(low) + HIGHEST * (1 - cdf(high))
    return found


def records_of(answers: Array, board: int, untouched: Sequence[Sequence[float]] | None = None) -> list[Record]:
    """One board's answers as records, as runs leave them: method 0 is `m00`, tasks are `t00`, ...

    `untouched`: the scores of the model before training by task and item; by default all wrong.
    """
    _, m, s, t, n = answers.shape
    made = []
    for k in range(t):
        before = _score([0.0] * n if untouched is None else [*map(float, untouched[k])])
        for method in range(m):
            for seed in range(s):
                made.append(
                    _record(f"m{method:02d}", f"t{k:02d}", seed, answers[board, method, seed, k].tolist(), before)
                )
    return made


def _score(items: Sequence[float]) -> dict[str, Any]:
    p = sum(items) / len(items)
    values = [float(x) for x in items]
    return {
        "metric": "accuracy",
        "value": p,
        "n": len(items),
        "stderr": math.sqrt(p * (1 - p) / len(items)),
        "items": values,
    }


def _record(method: str, task: str, seed: int, items: Sequence[float], before: Mapping[str, Any]) -> Record:
    cell: dict[str, Any] = {
        "model": "simulated",
        "model_revision": None,
        "task": task,
        "task_version": 1,
        "data": "simulated",
    }
    cell |= {"data_revision": None, "estimator": method, "selector": "all", "estimator_settings": {}}
    cell |= {"selector_settings": {}, "run_settings": {}, "lrs": [1e-3], "seed": seed}
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "id": cell_id(cell, PROTOCOL),
        "status": "ok",
        "protocol": PROTOCOL,
        "cell": cell,
        "scope": {"parameters": 1, "fraction": 1.0, "layers": [0], "tensors": 1, "names": ["w"]},
        "selection": {},
        "metrics": {"test": _score(items), "zero_shot": before},
        "trials": [{"lr": 1e-3, "status": "ok", "best_step": 1, "dev_loss": 0.5, "steps": 1, "curve": [[1, 0.5]]}],
        "chosen": {"lr": 1e-3, "step": 1},
        "forwards": {},
        "time": {},
        "memory": {},
        "environment": {},
        "error": None,
    }
    return made  # type: ignore[return-value]
