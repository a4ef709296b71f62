"""`zobench run --dry-run`: the cells of a run, one a line as it is planned, with what each will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..run.estimate import Cost
    from ..run.whole_run import RunPlan

HEADS = ("task", "estimator", "selector", "seed", "learning rates", "scope", "step", "time", "forwards")
KNOWN = 5
"""Of the columns: those that are known of all cells before any is looked at."""
WIDTHS = (8, 9, 14)
"""Of the scope, the step and the time; forwards come last, and are as wide as they are."""


def show(plan: RunPlan, for_device: str | None) -> None:
    """Print the table of a plan, a line as soon as a cell is looked at. Raises ZobenchError for an unknown device."""
    from ..run.device_pace import named
    from ..run.estimate import Estimate

    assert plan.outline is not None
    pace = None if for_device is None else named(for_device, plan.outline.loaded)
    estimate = Estimate(plan.outline, pace)
    later = [] if plan.later is None else plan.later.expected(plan.plugins)
    cells = [(cell, plan.later is not None and cell in later and bool(cell.lrs)) for cell in (*plan.todo, *later)]
    known = [_known(*one) for one in cells]
    widths = [max(map(len, column)) for column in zip(HEADS[:KNOWN], *known, strict=True)] + [*WIDTHS, len(HEADS[-1])]
    print(_row(HEADS, widths))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|", flush=True)
    seconds, forwards, assumed = 0.0, 0, False
    for words, (cell, _) in zip(known, cells, strict=True):
        cost = estimate.of(cell)
        seconds, forwards = seconds + cost.seconds, forwards + sum(cost.forwards.values())
        assumed |= cost.assumed
        print(_row((*words, *_found(cost)), widths), flush=True)
    print(
        f"\n{len(cells)} cells to run ({len(plan.done)} done before), {forwards} forwards, about {clock(seconds)} on "
        f"{estimate.pace.name if cells else 'any device'}, one cell at a time."
    )
    if assumed:
        print("~: which weights move shows when the selector is run; taken to be one decoder block.")


def _known(cell: Cell, chosen: bool) -> tuple[str, ...]:
    lrs = "the one chosen" if chosen else ", ".join(f"{lr:g}" for lr in cell.lrs) or "-"
    return cell.task, cell.estimator, cell.selector, str(cell.seed), lrs


def _found(cost: Cost) -> tuple[str, ...]:
    each = ", ".join(f"{purpose} {n}" for purpose, n in cost.forwards.items() if n)
    if not cost.scope:
        return "-", "-", clock(cost.seconds), each
    return ("~" if cost.assumed else "") + _many(cost.scope), _second(cost.step_s), clock(cost.seconds), each


def _row(words: tuple[str, ...], widths: list[int]) -> str:
    return "| " + " | ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + " |"


def _many(n: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


def _second(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def clock(seconds: float) -> str:
    """`12 min 03 s`, `8 h 05 min`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m:02d} min" if hours else f"{m} min {s:02d} s"
