"""Controls of a claim about scopes, from records: is it the precision, the learning rate, the selector, the budget?

Light: no torch. Pages of the first and the third are rows held against one (held.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ZobenchError
from . import stats, text
from .blocks import Sweep
from .entry import Entry, draw_of
from .facts import effect
from .held import HeldRows
from .known import KnownNames
from .record import Record
from .rows import MethodRow, Section
from .sections import reported
from .sensitivity import plus_minus
from .stats import Effect
from .tables import plus_minus as as_points

COARSE = ("float16", "bfloat16", "float32")
"""Dtypes from the coarsest."""


def fine(row: MethodRow) -> tuple[int, int, int]:
    """How finely the cells of a row computed: their dtype, masters, restore."""
    settings: Mapping[str, Any] = row.records[0]["cell"]["run_settings"]
    exact = settings.get("restore", "auto") != "arithmetic" and not str(settings.get("engine")).startswith("official")
    return COARSE.index(settings.get("dtype", "float32")), settings.get("precision") == "float32", exact


def way(row: MethodRow) -> str:
    """How the cells of a row computed, in words: `float16, official engine`."""
    settings: Mapping[str, Any] = row.records[0]["cell"]["run_settings"]
    words = [str(settings.get("dtype", "float32"))]
    words += ["float32 masters"] if settings.get("precision") == "float32" else []
    words += [f"{settings['engine']} engine"] if settings.get("engine", "auto") != "auto" else []
    words += [f"{settings['restore']} restore"] if settings.get("restore", "auto") != "auto" else []
    return ", ".join(words)


def by_precision(section: Section) -> list[HeldRows]:
    """The rows of each estimator and selector that was run in several ways, held against the finest way.

    ZobenchError where none was.
    """
    groups: dict[tuple[str, str], list[MethodRow]] = defaultdict(list)
    for row in section.rows:
        if row.trains:
            groups[row.estimator, row.where].append(row)
    found = []
    for (estimator, where), rows in sorted(groups.items()):
        if len({fine(row) for row in rows}) > 1:
            ways = Counter(map(way, rows))
            rows = [replace(row, method=way(row)) if ways[way(row)] == 1 else row for row in rows]
            own = sorted(rows, key=lambda row: (fine(row), row.name), reverse=True)
            found.append(HeldRows(f"{estimator} / {where}", tuple(own), own[0]))
    if not found:
        raise ZobenchError(
            "no method was run in two precisions: run it again into this folder with --dtype float16, with "
            "--set restore=arithmetic and with --set precision=float32"
        )
    return found


def by_selection(section: Section, known: KnownNames) -> list[HeldRows]:
    """The selectors of each estimator, held against that of the outlier block. ZobenchError where none is there."""
    groups: dict[str, list[MethodRow]] = defaultdict(list)
    for row in section.rows:
        if row.trains:
            groups[row.method].append(row)
    found = []
    for method, rows in sorted(groups.items()):
        outlier = next((row for row in rows if row.selector in known.outlier_block), None)
        if outlier is not None and len(rows) > 1:
            found.append(HeldRows(method, tuple(rows), outlier))
    if not found:
        names = "/".join(known.outlier_block)
        raise ZobenchError(f"no estimator was run with {names} and another selector")
    return found


@dataclass(frozen=True)
class BlockCorrelation:
    """How far tasks agree on which block is good for an estimator: the mean rank correlation over pairs of tasks."""

    estimator: str
    tasks: tuple[str, ...]
    blocks: int
    mean: float
    low: float
    high: float
    """The ends of its 95 % interval."""


def block_correlations(sweeps: Sequence[Sweep], draws: int = 2000) -> list[BlockCorrelation]:
    """Of each estimator whose blocks were tuned alone on several tasks, with the same seeds and items of each."""
    out = []
    for model, estimator in dict.fromkeys((sweep.model, sweep.estimator) for sweep in sweeps):
        mine = [s for s in sweeps if (s.model, s.estimator) == (model, estimator)]
        shared = sorted(set.intersection(*(set(s.blocks) for s in mine)))
        tables = [[[*s.blocks[block].items().values()] for block in shared] for s in mine]
        if len(mine) < 2 or len(shared) < 3 or not all(_even(table) for table in tables):
            continue
        of = tuple(s.task for s in mine)
        out.append(BlockCorrelation(estimator, of, len(shared), *stats.rank_correlation(tables, draws=draws)))
    return out


def correlation_page(found: Sequence[BlockCorrelation]) -> str:
    """A table, a row an estimator."""
    body = [
        [
            one.estimator,
            ", ".join(one.tasks),
            str(one.blocks),
            f"{one.mean:+.2f}",
            f"{one.low:+.2f} to {one.high:+.2f}",
        ]
        for one in found
    ]
    heads = ["estimator", "tasks", "blocks", "mean rank correlation", "95 %"]
    return (
        "## Blocks across tasks\n\nRank correlation (Spearman) of blocks by test score, mean over pairs of tasks; "
        f"the interval from seeds and test items drawn again (2,000 times).\n\n{text.table(heads, body, left=2)}\n"
    )


def _even(table: Sequence[Sequence[Sequence[float]]]) -> bool:
    """Whether all blocks have the same seeds and items."""
    shapes = {tuple(len(seed) for seed in block) for block in table}
    return len(shapes) == 1 and len(next(iter(shapes))) > 0


@dataclass(frozen=True)
class AtRate:
    """What a method gave at one learning rate: the lowest dev loss, and the test score where its cells had it alone."""

    lr: float
    dev: Effect | None
    mean: float
    test: Effect | None
    runs: int
    diverged: int


@dataclass(frozen=True)
class Rates:
    """One method on one task, by learning rate, from the lowest."""

    task: str
    name: str
    at: tuple[AtRate, ...]

    @property
    def best(self) -> int:
        """The place of the rate with the lowest mean dev loss."""
        return min(range(len(self.at)), key=lambda k: self.at[k].mean)

    @property
    def inside(self) -> bool:
        """Whether rates on both sides of the best one were tried."""
        return 0 < self.best < len(self.at) - 1


def rates(records: Iterable[Record]) -> list[Rates]:
    """By task and method what each learning rate gave. A run without a dev loss diverged."""
    trials: dict[tuple[str, str], dict[float, list[float | None]]] = defaultdict(lambda: defaultdict(list))
    scores: dict[tuple[str, str], dict[float, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in map(text.inert, filter(reported, records)):
        cell = record["cell"]
        key = cell["task"], f"{cell['estimator']} / {cell['selector']}"
        for trial in record.get("trials", []):
            losses = [loss for _, loss in trial.get("curve", []) if loss is not None]
            trials[key][trial["lr"]].append(min(losses) if losses and trial["status"] == "ok" else None)
        if len(cell["lrs"]) == 1 and record["status"] == "ok":
            scores[key][cell["lrs"][0]].append(record)
    out = []
    for (task, name), found in sorted(trials.items(), key=lambda one: (one[0][0], text.natural(one[0][1]))):
        at = [_at(lr, runs, scores[task, name].get(lr, [])) for lr, runs in sorted(found.items())]
        out.append(Rates(task, name, tuple(at)))
    return out


def _at(lr: float, runs: Sequence[float | None], records: Sequence[Record]) -> AtRate:
    known = [loss for loss in runs if loss is not None]
    dev = stats.score({0: known}) if len(known) > 1 else None
    test = Entry({draw_of(record): record for record in records}).effect if records else None
    mean = stats.mean(known) if known else float("inf")
    return AtRate(lr, dev, mean, test, len(runs), len(runs) - len(known))


def rate_page(found: Sequence[Rates]) -> str:
    """A table a task: the lowest dev loss by rate."""
    parts = [
        "The lowest dev loss of a run at each learning rate, mean over seeds, ± half of the 95 % interval over seeds "
        "(none: one run); **bold**: the lowest of its row; the test score where cells had one rate alone. Inside: "
        "whether rates on both sides of it were tried; else a scope may only look better for a grid that suits it."
    ]
    for task in dict.fromkeys(one.task for one in found):
        mine = [one for one in found if one.task == task]
        every = sorted({at.lr for one in mine for at in one.at})
        body = []
        for one in mine:
            by_rate = {at.lr: (k, at) for k, at in enumerate(one.at)}
            cells = [_rate(by_rate[lr][1], by_rate[lr][0] == one.best) if lr in by_rate else "" for lr in every]
            body.append([one.name, *cells, "yes" if one.inside else "no"])
        heads = ["method", *(f"{lr:g}" for lr in every), "inside"]
        parts.append(f"## {task}\n\n{text.table(heads, body, left=1)}")
    return "\n\n".join(parts) + "\n"


def _rate(at: AtRate, best: bool) -> str:
    if at.mean == float("inf"):
        return "diverged"
    shown = f"{at.mean:.4f}" if at.dev is None else plus_minus(at.dev, 4)
    shown = f"**{shown}**" if best else shown
    shown += "" if at.test is None else f"; test {text.percent(at.test.mean)}{as_points(at.test)}"
    return f"{shown} ({at.diverged} of {at.runs} diverged)" if at.diverged else shown


def rate_facts(found: Sequence[Rates]) -> list[dict[str, Any]]:
    """For programs: what each rate gave each method on each task; a dev loss is None where every run diverged."""
    return [
        {
            "task": one.task,
            "method": one.name,
            "best": one.at[one.best].lr,
            "inside": one.inside,
            "rates": [
                {
                    "lr": at.lr,
                    "dev_loss": effect(at.dev, at.mean),
                    "test": effect(at.test),
                    "runs": at.runs,
                    "diverged": at.diverged,
                }
                for at in one.at
            ],
        }
        for one in found
    ]
