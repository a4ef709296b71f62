"""A paper's tables beside what our cells gave: numbers, differences, and its claims held against our intervals. Light.

The paper prints numbers without error bars. A number of its own model is inside if it lies in our 95 % interval, over
seeds and test items. Claims are about two rows of one table, so they can be held on any model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import stats, text
from .entry import Entry, draw_of
from .paper import as_printed, model_key
from .papers import AVERAGE, Paper, PrintedClaim, PrintedRow, PrintedTable
from .record import Record
from .stats import Draw, Effect
from .tables import plus_minus, points

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"


@dataclass(frozen=True)
class OurRow:
    """A row of a table as we ran it: an entry a task."""

    printed: PrintedRow
    entries: Mapping[str, Entry]

    def effect(self, tasks: Sequence[str]) -> Effect | None:
        """The mean over the tasks; None where one of them is not there, or not whole."""
        found = [self.entries[task].effect for task in tasks if task in self.entries and self.entries[task].complete]
        known = [one for one in found if one is not None]
        return stats.combine(known) if known and len(known) == len(tasks) else None

    def minus(self, other: OurRow, tasks: Sequence[str]) -> Effect | None:
        """The paired difference on the mean over the tasks; None where some task cannot be paired."""
        found = [
            self.entries[task].minus(other.entries[task]) if task in self.entries and task in other.entries else None
            for task in tasks
        ]
        known = [one for one in found if one is not None]
        return stats.combine(known) if known and len(known) == len(found) else None


def our_rows(table: PrintedTable, records: Iterable[Record]) -> list[OurRow]:
    """The rows of the table, with the records that are theirs: of the same estimator and selector."""
    of: dict[tuple[str, str], dict[str, dict[Draw, Record]]] = defaultdict(lambda: defaultdict(dict))
    expected: set[Draw] = set()
    for record in map(text.inert, records):
        cell = record["cell"]
        of[cell["estimator"], cell["selector"]][cell["task"]][draw_of(record)] = record
        if cell["selector"] != "-":
            expected.add(draw_of(record))
    return [
        OurRow(
            row,
            {
                task: Entry(draws, frozenset(expected))
                for task, draws in of.get((row.estimator, row.runs), {}).items()
                if task in table.tasks
            },
        )
        for row in table.rows
    ]


def markdown(paper: Paper, tables: Sequence[PrintedTable], records: Sequence[Record], model: str, how: str) -> str:
    """The page: each table with our numbers under the paper's, and what became of its claims. `how`: the budget."""
    named = ", ".join(dict.fromkeys(table.model for table in tables))
    parts = [
        f"# {paper.title}: the paper's tables with {model}",
        f"Paper: arXiv {paper.arxiv}; {named}; percentages as printed, without error bars. Ours: {model}, {how}; ± is "
        "half of the 95 % interval over seeds and test items (¹: one seed, over test items alone).",
    ]
    said: list[list[str]] = []
    for table in tables:
        rows = our_rows(table, records)
        same = model_key(table.model) == model_key(model)
        shown = _times(table, rows) if table.timed else _scores(table, rows, same)
        parts.append(f"## Table {table.number}\n\n{shown}")
        said += [_claim(claim, table, rows) for claim in paper.claims if claim.table == table.number]
    if said:
        heads = ["claim", "table", "the paper's difference", "ours", "the paper's inside ours", "here it"]
        explained = (
            "Differences of two rows, in points, on the mean over the tasks that both have here. *Better* holds where "
            "our interval is above 0, *as good* where the difference is surely (5 %) not below "
            f"-{100 * stats.MARGIN:g} points."
        )
        parts.append(f"## Claims\n\n{explained}\n\n{text.table(heads, said, left=2)}")
    return "\n\n".join(parts) + "\n"


def _scores(table: PrintedTable, rows: Sequence[OurRow], same: bool) -> str:
    run = {task for row in rows for task in row.entries}
    tasks = [task for task in table.tasks if task in run] or list(table.tasks)
    average = [AVERAGE] if len(tasks) > 1 else []
    body: list[list[str]] = []
    inside: list[bool] = []
    for row in rows:
        printed = _printed(row.printed, tasks)
        if same or not table.sweeps:
            body.append([f"paper: {row.printed.method}", *(as_printed(printed.get(t)) for t in (*tasks, *average))])
        effects = {task: row.entries[task].effect if task in row.entries else None for task in tasks}
        effects |= {AVERAGE: row.effect(tasks)} if average else {}
        shown = [_ours(row, task, effects[task]) for task in (*tasks, *average)]
        body.append([f"ours: {row.printed.estimator} / {row.printed.runs}", *shown])
        if same:
            body.append(["difference", *(_difference(effects[t], printed.get(t), inside) for t in (*tasks, *average))])
    made = text.table(["row", *tasks, *average], body, left=1)
    if not same:
        return f"Another model than the paper's: its numbers are for orientation.\n\n{made}"
    return f"{made}\n\n{sum(inside)} of {text.plural(len(inside), 'number')} of the paper lie inside our intervals."


def _times(table: PrintedTable, rows: Sequence[OurRow]) -> str:
    """Speed-ups over full-model MeZO in the paper's table, and over the official engine in ours, with step times."""
    run = {task for row in rows for task in row.entries}
    tasks = [task for task in table.tasks if task in run] or list(table.tasks)
    full = rows[0].printed.times
    body = []
    for row in rows:
        theirs = row.printed.times
        said = [
            f"{text.ratio(full[t]['total_s'] / theirs[t]['total_s'])}: {_phases(theirs[t], 'total_s')}" for t in tasks
        ]
        body.append([f"paper: {row.printed.method}", *said])
        body.append([f"ours: {row.printed.estimator} / {row.printed.runs}", *(_our_time(row, task) for task in tasks)])
    explained = (
        "Speed-up, then milliseconds a step (forward + perturb + update), of other machines: compare speed-ups. Ours "
        "are over the same step of the whole model in the official order, measured side by side in each cell."
    )
    return f"{explained}\n\n{text.table(['row', *tasks], body, left=1)}"


def _phases(times: Mapping[str, float], whole: str) -> str:
    phases = " + ".join(text.milliseconds(times[phase]) for phase in ("forward_s", "perturb_s", "update_s"))
    return f"{text.milliseconds(times[whole])} ({phases})"


def _our_time(row: OurRow, task: str) -> str:
    done = row.entries[task].done.values() if task in row.entries else ()
    speeds = [record["speed"] for record in done if "speed" in record]
    if not speeds:
        return text.NONE
    keys = ("forward_s", "perturb_s", "update_s", "step_s")
    own = {key: stats.mean([one["own"][key] for one in speeds]) for key in keys}  # type: ignore[literal-required]
    return f"{text.ratio(stats.geometric_mean([one['ratio'] for one in speeds]))}: {_phases(own, 'step_s')}"


def _printed(row: PrintedRow, tasks: Sequence[str]) -> dict[str, float]:
    """The paper's scores, with the average over these tasks, which may be fewer than its own."""
    own = [row.scores[task] for task in tasks if task in row.scores]
    whole = {AVERAGE: stats.mean(own)} if own and len(own) == len(tasks) else {}
    return {**{task: row.scores[task] for task in tasks if task in row.scores}, **whole}


def _ours(row: OurRow, task: str, effect: Effect | None) -> str:
    entry = row.entries.get(task)
    if effect is not None:
        return f"{text.percent(effect.mean)}{plus_minus(effect)}"
    if entry is None or not entry.records:
        return text.NONE
    if entry.failed:
        return ", ".join(f"{n} {status}" for status, n in sorted(entry.failed.items()))
    mean = entry.mean()
    return text.NONE if mean is None else text.percent(mean)


def _difference(effect: Effect | None, printed: float | None, inside: list[bool]) -> str:
    if effect is None or printed is None:
        return text.NONE
    difference = effect.mean - printed / 100
    inside.append(abs(difference) <= effect.half())
    return f"{text.signed(difference)} {'in' if inside[-1] else 'out'}"


def _claim(claim: PrintedClaim, table: PrintedTable, rows: Sequence[OurRow]) -> list[str]:
    by_name = {row.printed.method: row for row in rows}
    first, second = by_name[claim.first], by_name[claim.second]
    tasks = [task for task in table.tasks if task in first.entries and task in second.entries]
    effect = first.minus(second, tasks) if tasks else None
    of = tasks or list(table.tasks)
    theirs = stats.mean([first.printed.scores[t] - second.printed.scores[t] for t in of]) / 100
    said = f"{claim.says}: {claim.first} {'is' if claim.verdict == 'better' else 'is as'} "
    said += f"{'better than' if claim.verdict == 'better' else 'good as'} {claim.second}"
    if effect is None:
        return [said, table.number, text.signed(theirs), text.NONE, text.NONE, "was not run whole"]
    inside = "yes" if abs(effect.mean - theirs) <= effect.half() else "no"
    return [said, table.number, text.signed(theirs), points(effect), inside, verdict(claim.verdict, effect)]


def verdict(said: str, effect: Effect) -> str:
    """What becomes of a claim, `better` or `as good`, by a difference."""
    half = effect.half()
    if said == "better":
        return HOLDS if effect.mean - half > 0 else FAILS if effect.mean + half < 0 else OPEN
    if effect.mean - effect.half(1 - 2 * stats.ALPHA) > -stats.MARGIN:
        return HOLDS
    return FAILS if effect.mean + half < 0 else OPEN
