"""The sentences of the first screen: what a section's records say, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .. import notes, stats, text
from ..compare import ColumnStanding, Verdicts
from ..memory import MemoryLimit
from ..rows import MethodRow, Section
from ..tables import plus_minus
from .following import following
from .lines import Line

SAID = {stats.BETTER: "better", stats.WORSE: "worse", stats.EQUAL: f"as good, within {100 * stats.MARGIN:g} points"}
FULL = "full MeZO"


@dataclass(frozen=True)
class Words:
    """The text of a first screen, in Markdown: `**` alone is markup."""

    title: str
    answer: str
    """One sentence: who is ahead, by how much, how surely."""
    more: tuple[str, ...]
    """Further sentences: against full MeZO, costs, gradients, seeds."""
    counted: tuple[str, ...]
    """Failures and warnings, as numbers."""
    following: tuple[str, ...]
    """What to run next: options of the run, or commands."""


def words(
    section: Section,
    verdicts: Verdicts,
    found: Sequence[Line],
    warned: Sequence[str],
    asked: tuple[Sequence[str], MemoryLimit | None] = ((), None),
) -> Words:
    """The sentences of a section. `warned`: its warnings, which are counted here and stand in full further down;
    `asked`: what is to be said of the order of its methods, and the memory that they are kept within.
    """
    of_order, limit = asked
    rivals = [line for line in found if not line.row.reference and line.row.trains]
    if not rivals and limit is not None and limit.left_out:
        answer, more = "**no method fits.**", list[str]()
    elif len(rivals) == 1:
        answer, more = _of_one(section, verdicts, rivals[0])
    else:
        answer, more = _of_many(section, verdicts, found)
    if limit is not None:
        answer = f"**Within {limit.size} of peak memory: {answer.removeprefix('**')}"
        more += limit.said()
    more += of_order
    more += _gradients(found, rivals)
    seeds = _seeds(verdicts, rivals)
    if 0 < seeds < stats.MARK_SEEDS:
        more.append(f"{_few(seeds)}: nothing is told apart from luck, so do not quote.")
    return Words(
        title=_title(section, found),
        answer=f"{answer} {_ended(section)}",
        more=tuple(more),
        counted=tuple(_counted(section, warned)),
        following=tuple(following(section, verdicts, rivals, seeds)),
    )


def _title(section: Section, found: Sequence[Line]) -> str:
    rows = [line.row for line in found if not line.row.untouched]
    alone = "zero-shot" if found else "no method"
    who = rows[0].name if len(rows) == 1 else text.plural(len(rows), "method") if rows else alone
    nature = notes.source_of(section)[0]
    kind = f"{nature} task".strip()
    tasks = f"{nature} {section.tasks[0]}".strip() if len(section.tasks) == 1 else text.plural(len(section.tasks), kind)
    seeds = {r["cell"]["seed"] for r in section.records}
    told = f" · {text.settings(section.distinct)}" if section.distinct else ""
    return f"{who} · {section.model} · {tasks} · {text.plural(len(seeds), 'seed')}{told}"


def _ended(section: Section) -> str:
    ok, every = sum(r["status"] == "ok" for r in section.records), len(section.records)
    return f"{ok}/{every} ok." if ok == every else f"{ok}/{every} ok, {every - ok} failed."


def _of_one(section: Section, verdicts: Verdicts, line: Line) -> tuple[str, list[str]]:
    if line.average is None:
        return f"**{line.row.name} has no average: {_lost(section, line.row)}.**", []
    over = "" if line.gained is None else f", {_signed(line)} over zero-shot"
    fast = "" if line.speedup is None else f"; a step {_fast(line.speedup)} as fast as {FULL}"
    on = "on average" if len(section.scored) > 1 else f"on {section.scored[0]}"
    return f"**{text.percent(line.average)} {on}{over}{fast}.**", _over_untouched(section, verdicts, line)


def _over_untouched(section: Section, verdicts: Verdicts, line: Line) -> list[str]:
    """On which tasks a method beats the untouched model."""
    at = next(at for at, row in enumerate(section.rows) if row is line.row)
    told = {task: verdicts.gains.get((task, at)) for task in section.scored}
    if all(one in (None, stats.UNTESTED) for one in told.values()):
        if len(told) < 2:
            return []
        higher = [t for t in told if (line.row.entry(t).mean() or 0) > (line.row.entry(t).mean("zero_shot") or 0)]
        return [f"It scores higher than zero-shot on {len(higher)} of {text.plural(len(section.scored), 'task')}."]
    better = [task for task, one in told.items() if one == stats.BETTER]
    worse = [task for task, one in told.items() if one == stats.WORSE]
    rest = [task for task in told if task not in (*better, *worse)]
    parts = [f"Better than zero-shot on {len(better)} of {text.plural(len(told), 'task')}"]
    parts += [f"worse on {_names(worse)}"] if worse else []
    parts += [f"not told apart on {_names(rest)}"] if rest else []
    return [f"{'; '.join(parts)}."]


def _of_many(section: Section, verdicts: Verdicts, found: Sequence[Line]) -> tuple[str, list[str]]:
    standing = verdicts.best["average"]
    if standing is None:
        lost = [line.row.name for line in found if not line.row.reference]
        shown = [line for line in found if line.average is not None]
        if not lost and shown:
            scores = ", ".join(f"{line.row.name} {text.percent(line.average or 0.0)}" for line in shown)
            return f"**References alone: {scores}.**", []
        why = f"; none of {text.plural(len(lost), 'method')} finished every task and seed" if lost else ""
        return f"**There is no average to compare{why}.**", []
    best = next(line for line in found if line.row is standing.best)
    scored = "" if best.average is None else f", {text.percent(best.average)}{plus_minus(best.effect)}"
    over = "" if best.gained is None else f" ({_signed(best)} over zero-shot)"
    where = "average" if len(section.scored) > 1 else f"score on {section.scored[0]}"
    if standing.bold:
        said = f"**{best.row.name} is best{scored}{over}: better than {_every(standing)}.**"
    else:
        said = f"**{best.row.name} has the highest {where}{scored}{over}{_unsure(standing)}.**"
    return said, _costs(best, verdicts)


def _every(standing: ColumnStanding) -> str:
    n = len(standing.beaten)
    return standing.beaten[0].name if n == 1 else f"all {n} others, beyond chance"


def _unsure(standing: ColumnStanding) -> str:
    parts = []
    if standing.close:
        n = len(standing.close)
        parts.append(f"not told apart from {standing.close[0].name if n == 1 else text.plural(n, 'other')}")
    if standing.beaten:
        n = len(standing.beaten)
        parts.append(f"better than {standing.beaten[0].name if n == 1 else n}")
    if standing.untested:
        parts.append(f"not compared with {len(standing.untested)}")
    return f"; {', '.join(parts)}" if parts else ""


def _costs(best: Line, verdicts: Verdicts) -> list[str]:
    """The best against full MeZO, in points and in time."""
    parts = []
    if best.control is not None and verdicts.control is not None:
        p = "" if best.control_p is None else f", p = {best.control_p:.2g}"
        said = SAID.get(best.control_verdict or stats.SAME, "not told apart")
        said = f", {said}" if best.control.markable else ""
        parts.append(
            f"Against {FULL} {text.signed(best.control.mean)}{plus_minus(best.control)} points{p}{said}{_range(best)}"
        )
    if best.speedup is not None and best.row is not verdicts.control:
        parts.append(f"a step {_fast(best.speedup)} as fast as {FULL}")
    joined = "; ".join(parts)
    return [f"{joined[0].upper()}{joined[1:]}."] if joined else []


def _range(best: Line) -> str:
    found = None if best.control is None else best.control.without_one
    return "" if found is None else f" (without any one task {' to '.join(map(text.signed, found))})"


def _gradients(found: Sequence[Line], rivals: Sequence[Line]) -> list[str]:
    """How far gradients are."""
    known = [
        (line.average, line) for line in found if line.row.reference and line.row.trains and line.average is not None
    ]
    best = max((line.average for line in rivals if line.average is not None), default=None)
    if not known or best is None:
        return []
    top, line = max(known, key=lambda pair: pair[0])
    more = "more" if top >= best else "less"
    return [f"Gradients ({line.row.name}) reach {text.percent(top)}, {text.percent(abs(top - best))} points {more}."]


def _seeds(verdicts: Verdicts, rivals: Sequence[Line]) -> int:
    """The seeds that the answer rests on: the leader's on its poorest task; 0 where nothing that trains has ended."""
    standing = verdicts.best["average"]
    ahead = [line for line in rivals if standing is not None and line.row is standing.best] or rivals[:1]
    return min((len(e.done) for line in ahead for e in line.row.entries.values() if e.done), default=0)


def _few(seeds: int) -> str:
    return "One seed" if seeds == 1 else f"{seeds} seeds" if seeds != 2 else "Two seeds"


def _lost(section: Section, row: MethodRow) -> str:
    lost: Counter[str] = Counter()
    for task in section.tasks:
        lost.update(row.entry(task).failed)
    missing = sum(len(row.entry(task).missing) for task in section.tasks)
    lost += Counter({"missing": missing}) if missing else Counter()
    return ", ".join(f"{n} {status}" for status, n in sorted(lost.items())) or "a task is missing"


def _counted(section: Section, warned: Sequence[str]) -> list[str]:
    """`23 warnings (rates at the end of their grid 12, ...)`."""
    if not warned:
        return []
    kinds = Counter(_kind(one) for one in warned)
    said = ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items(), key=lambda pair: (-pair[1], pair[0])))
    return [f"{text.plural(len(warned), 'warning')} ({said})."]


KINDS = (
    ("end of its grid", "rates at the end of their grid"),
    ("only one learning rate", "one rate tried"),
    ("does not beat zero-shot", "below zero-shot"),
    ("not told apart from none", "gains not told apart from none"),
    ("Not verified", "details not verified"),
    ("Some scores rest on", "few seeds"),
    ("seeds that others have", "missing seeds"),
    ("chose the learning rate", "seeds that tuned and are reported"),
    ("Roles of seeds", "roles of seeds"),
    ("different machines", "several machines"),
    ("scored differently", "zero-shot scores that differ"),
)


def _kind(warning: str) -> str:
    return next((kind for part, kind in KINDS if part in warning), "other")


def _names(tasks: Sequence[str]) -> str:
    return ", ".join(tasks)


def _signed(line: Line) -> str:
    return text.signed(line.gained or 0.0)


def _fast(ratio: float) -> str:
    return f"{ratio:.1f}x"
