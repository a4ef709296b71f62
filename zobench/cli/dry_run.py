"""`zobench run --dry-run`: the cells of a run, one a line as it is planned, with what each will take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ZobenchError

if TYPE_CHECKING:
    from ..protocol.cell import Cell
    from ..run.estimate import Cost, Estimate
    from ..run.memory_account import MemoryAccount
    from ..run.plan import RunPlan

HEADS = ("task", "estimator", "selector", "seed", "learning rates", "scope", "step", "time", "memory", "forwards")
KNOWN = 5
"""Of the columns: those that are known of all cells before any is looked at."""
WIDTHS = (8, 9, 14, 10)
"""Of the scope, the step, the time and the memory; forwards come last, and are as wide as they are."""


def show(
    plan: RunPlan, for_device: str | None, device_map: str = "auto", *, official: bool = False
) -> tuple[float, float]:
    """Print the table of a plan, a line as soon as a cell is looked at. Raises ZobenchError for an unknown device.

    Returns the seconds of all cells, and what they would take with the official engine, where that is asked for.
    """
    from ..run.device_pace import measured, named
    from ..run.estimate import Estimate

    assert plan.outline is not None
    pace = None if for_device is None else named(for_device, plan.outline.loaded, device_map)
    later = [] if plan.later is None else plan.later.expected(plan.plugins)
    cells = [(cell, plan.later is not None and cell in later and bool(cell.lrs)) for cell in (*plan.todo, *later)]
    known = [_known(*one) for one in cells]
    widths = [max(map(len, column)) for column in zip(HEADS[:KNOWN], *known, strict=True)] + [*WIDTHS, len(HEADS[-1])]
    print(_row(HEADS, widths))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|", flush=True)
    if pace is None and cells:
        pace = measured(plan.outline.loaded, device_map, alone=":" in plan.run_cell.order.place.device)
    estimate = Estimate(plan.outline, pace)
    seconds, forwards, assumed, over = 0.0, 0, False, dict[str, str]()
    for words, (cell, _) in zip(known, cells, strict=True):
        cost, account = estimate.of(cell), estimate.memory(cell)
        seconds, forwards = seconds + cost.seconds, forwards + sum(cost.forwards.values())
        assumed |= cost.assumed
        if account is not None and not account.fits:
            over[f"{cell.estimator}/{cell.selector}"] = f"{account.said()}{_ways(account)}"
        print(_row((*words, *_found(cost, account)), widths), flush=True)
    print(
        f"\n{len(cells)} cells to run ({len(plan.done)} done before), {forwards} forwards, about {clock(seconds)} on "
        f"{estimate.pace.name if cells else 'any device'}, one cell at a time."
    )
    for method, why in over.items():
        print(f"!: {method} does not fit: {why}")
    if assumed:
        print("~: which weights move shows when the selector is run; taken to be one decoder block.")
    in_their_order = sorted((cell for cell, _ in cells), key=lambda cell: cell.task)  # each task is encoded once
    return seconds, sum(estimate.of(_officially(cell)).seconds for cell in in_their_order) if official else 0.0


def _officially(cell: Cell) -> Cell:
    """The same cell computed as MeZO's code does."""
    from ..protocol.protocol import narrowed

    return replace(cell, computation=narrowed(replace(cell.computation, engine="official")))


def _known(cell: Cell, chosen: bool) -> tuple[str, ...]:
    lrs = "the one chosen" if chosen else ", ".join(f"{lr:g}" for lr in cell.lrs) or "-"
    return cell.task, cell.estimator, cell.selector, str(cell.seed), lrs


def _found(cost: Cost, account: MemoryAccount | None) -> tuple[str, ...]:
    from ..run.memory_account import gib

    each = ", ".join(f"{purpose} {n}" for purpose, n in cost.forwards.items() if n)
    if not cost.scope or account is None:
        return "-", "-", clock(cost.seconds), "-", each
    held = gib(account.peak) + ("" if account.fits else " !")
    return ("~" if cost.assumed else "") + _many(cost.scope), _second(cost.step_s), clock(cost.seconds), held, each


def _ways(account: MemoryAccount) -> str:
    """What takes less memory, most first."""
    from ..run.memory_account import gib

    most_first = sorted(account.ways.items(), key=lambda way: -way[1])
    return "".join(f"; {way}: {gib(size)} less" for way, size in most_first)


def _row(words: tuple[str, ...], widths: list[int]) -> str:
    return "| " + " | ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + " |"


def _many(n: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


def _second(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{1000 * seconds:.3g} ms"


def clock(seconds: float) -> str:
    """`12 min 03 s`, `8 h 05 min`."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m:02d} min" if hours else f"{m} min {s:02d} s"


def keep_fitting(plan: RunPlan, limit: str) -> None:
    """Leave out of a plan the cells that would hold more than `limit` (`16GB`, `24GiB`), and say how many.

    Raises ZobenchError for a limit that cannot be read, and where nothing is left.
    """
    from ..report.memory import parsed
    from ..run import estimate as costs

    size = parsed(limit)
    assert plan.outline is not None
    estimate = costs.Estimate(plan.outline)
    later = [] if plan.later is None else plan.later.expected(plan.plugins)
    can = [cell for cell in (*plan.todo, *later) if _fits(estimate, cell, size)]
    left_out = len(plan.todo) + len(later) - len(can)
    if not can and left_out:
        raise ZobenchError(f"--max-memory {limit}: none of {left_out} cells fits; --dry-run says what each holds")
    if left_out:
        plan.plugins.warn(f"{left_out} cells hold more than --max-memory {limit} and are left out")
    kept = {id(cell) for cell in can}
    plan.todo = [cell for cell in plan.todo if id(cell) in kept]
    if plan.later is not None:
        plan.later = plan.later.only([cell for cell in later if id(cell) in kept])


def _fits(estimate: Estimate, cell: Cell, size: int) -> bool:
    account = estimate.memory(cell, size)
    return account is None or account.fits
