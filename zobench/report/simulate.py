"""How often boards err: records made under a null and under known differences, judged as any board is.

`python -m zobench.report.simulate RESULTS` estimates the model (simulated.py) from real records, makes boards from
it, and prints false marks, coverage and power (docs/statistics.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ZobenchError
from . import compare, methods, stats, store, text
from .record import Record
from .sections import sections
from .simulated import Design, World, draw, estimate, records_of
from .stats import Effect, OnTask, TwoWay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class ShownByBoards:
    """What a number of boards of one design showed, as fractions."""

    false_marks: float
    """Boards with any mark that is false (of method 1 where it is truly better, a ▼)."""
    false_counts: float
    """Of the comparisons counted at a false discovery rate, those that are false: the mean over boards."""
    coverage: float
    """95 % intervals of a difference from the control that hold the true one."""
    power: float
    """Boards that mark method 1 as better; 0 under the null."""


def against_control(answers: Array) -> list[dict[str, Effect]]:
    """For each board the effect of every method minus method 0, on the average over tasks: as a page has it.

    The mean squares of all tables at once; what is made of them is report/stats, as everywhere.
    """
    import numpy as np

    d = answers[:, 1:].astype(np.float32) - answers[:, :1].astype(np.float32)
    d = np.moveaxis(d, 3, 2).astype(np.float64)  # [board, method, task, seed, item]
    s, n = d.shape[3:]
    whole = d.mean(axis=(3, 4))
    by_seed, by_item = d.mean(axis=4) - whole[..., None], d.mean(axis=3) - whole[..., None]
    every = ((d - whole[..., None, None]) ** 2).sum(axis=(3, 4))
    seeds, items = n * (by_seed**2).sum(axis=3), s * (by_item**2).sum(axis=3)
    both = every - seeds - items
    moved = (np.abs(d.mean(axis=3)) > 1e-9).sum(axis=3)

    def table(at: tuple[int, ...]) -> TwoWay:
        return TwoWay(
            mean=float(whole[at]),
            by_seed=tuple((k, float(whole[at] + by_seed[at][k])) for k in range(s)),
            items=n,
            units=n,
            ms_items=float(items[at]) / (n - 1),
            ms_seeds=float(seeds[at]) / (s - 1) if s > 1 else 0.0,
            ms_both=max(0.0, float(both[at])) / ((s - 1) * (n - 1)) if s > 1 else 0.0,
            moved=int(moved[at]),
        )

    boards, others, tasks = whole.shape
    return [
        {f"m{m + 1:02d}": Effect(tuple(OnTask((table((b, m, t)),)) for t in range(tasks))) for m in range(others)}
        for b in range(boards)
    ]


def run(world: World, design: Design, boards: int, seed: int = 0) -> ShownByBoards:
    """Boards of a design, judged: marks against the control over the whole page, counts, and intervals."""
    false_marks = power = 0
    covered, counts = list[bool](), list[float]()
    for start in range(0, boards, 100):  # at a time, for memory
        answers, true = draw(world, design, min(100, boards - start), seed + start)
        for b, found in enumerate(against_control(answers)):
            told, counted = stats.verdicts(found), stats.discoveries(found)
            real = {"m01"} if design.better else set[str]()
            wrong = [
                k for k, v in told.items() if v in (stats.BETTER, stats.WORSE) and (k not in real or v == stats.WORSE)
            ]
            false_marks += bool(wrong)
            power += bool(design.better) and told["m01"] == stats.BETTER
            claimed = [k for k, v in counted.items() if v in (stats.BETTER, stats.WORSE)]
            counts.append(sum(k not in real for k in claimed) / max(1, len(claimed)))
            for m, (_, one) in enumerate(sorted(found.items())):
                truth = float((true[b, m + 1] - true[b, 0]).mean())
                covered.append(abs(one.mean - truth) <= one.half())
    return ShownByBoards(false_marks / boards, stats.mean(counts), stats.mean([*map(float, covered)]), power / boards)


def any_false_mark(records: Sequence[Record]) -> tuple[bool, bool]:
    """Under a null: whether the board has any bold or any marked gain, and the page against `m00` any mark."""
    (section,) = sections(records)
    told = compare.judge(section)
    bold = any(one is not None and one.bold for one in told.best.values())
    gains = any(verdict in (stats.BETTER, stats.WORSE) for verdict in told.gains.values())
    page = any(
        one.verdict in (stats.BETTER, stats.WORSE)
        for field in methods.fields(section, ["m00"])
        for standing in field.standings
        for one in standing.against
    )
    return bold or gains, page


def whole_boards(world: World, design: Design, boards: int, seed: int = 0) -> tuple[float, float]:
    """As `any_false_mark`, the fractions of boards made as records; the untouched model is as good as the methods."""
    import numpy as np

    found = []
    for at in range(boards):
        answers, _ = draw(world, design, 1, seed + at, untouched=True)
        found.append(any_false_mark(records_of(answers[:, :-1], 0, answers[0, -1, 0])))
    board, page = np.mean(found, axis=0)
    return float(board), float(page)


DESIGNS = (
    *(Design(m, s, t) for m, s, t in ((2, 3, 3), (2, 5, 3), (2, 3, 11), (5, 3, 3), (5, 5, 3), (5, 3, 11), (20, 3, 3))),
    *(Design(5, s, t, by) for by in (0.05, 0.1) for s, t in ((3, 3), (5, 3), (3, 11))),
)


def report(world: World, boards: int) -> Iterator[str]:
    """The table of docs/statistics.md, line by line: a design a row."""
    middle, largest = 100 * sorted(world.deviations)[len(world.deviations) // 2], 100 * world.deviations[-1]
    yield (
        f"Estimated: {world.items} items a task; deviation between seeds {middle:.1f} points in the median, "
        f"{largest:.1f} at most; latent correlation of answers {world.shared:.2f} between methods and "
        f"{world.shared + world.own:.2f} between seeds."
    )
    yield ""
    lines = []
    for design in DESIGNS:
        found = run(world, design, boards)
        better = "-" if not design.better else f"{100 * design.better:g} points"
        power = "-" if not design.better else f"{found.power:.2f}"
        lines.append(
            [
                str(design),
                better,
                f"{found.false_marks:.3f}",
                f"{found.false_counts:.3f}",
                f"{found.coverage:.3f}",
                power,
            ]
        )
    headers = ["methods, seeds, tasks", "one better by", "any false mark", "false of counted", "95 % covers", "found"]
    yield text.table(headers, lines, left=1)


def main(argv: Sequence[str]) -> int:
    """Print the table of the records of a folder."""
    if not argv or len(argv) > 2:
        print("usage: python -m zobench.report.simulate RESULTS [BOARDS]", file=sys.stderr)
        return 2
    try:
        world = estimate(store.readable(Path(argv[0])))
    except ZobenchError as e:
        print(f"zobench: error: {e}", file=sys.stderr)
        return 2
    for line in report(world, int(argv[1]) if len(argv) > 1 else 1000):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
