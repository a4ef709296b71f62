"""The first screen as columns of text, which the terminal prints to its width, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import stats, text
from ..compare import Verdicts
from ..memory import MemoryLimit
from ..order import Order, said
from ..rows import Section
from ..tables import ITEMS_ALONE, MARKS, plus_minus, zero_shot_scores
from .lines import Line, lines
from .words import Words, words

MOST = 10
"""Lines of the summary where there are more than FITS: with the answer and what to do next they fill 768 pixels."""

FITS = MOST + 1
"""Lines that fit without the line that says how many more there are."""

BY_TASK = 5
"""Lines up to which the table of scores by task fits beside the summary; of more it is folded."""

MOST_COMPARED = 20
"""Methods that are compared each with each."""

FEW_TASKS = 6
"""Up to so many tasks their scores have a decimal."""

EQUALS = " ≈"


@dataclass(frozen=True)
class Column:
    """A column: its heading and a text a line. Columns stand in the order of their worth: the last go first."""

    heading: str
    cells: tuple[str, ...]
    left: bool = False


@dataclass(frozen=True)
class BoardAsked:
    """What a board was asked for."""

    order: Order = "average"
    limit: MemoryLimit | None = None
    level: int = 1
    """Of the section's heading."""
    most: int | None = MOST
    """Lines that are shown, None for all."""


@dataclass(frozen=True)
class Screen:
    """The first screen of a section."""

    words: Words
    lines: tuple[Line, ...]
    """Of all methods, in the section's order."""
    summary: tuple[Column, ...]
    tasks: tuple[Column, ...]
    """The name, and a column a task; empty where there is one task, whose score the summary has."""
    caption: str
    rest: tuple[Column, ...]
    """The summary of the methods that its table leaves out; empty where it has all."""
    hidden: int
    """How many they are."""


def screen(section: Section, verdicts: Verdicts, warned: Sequence[str], asked: BoardAsked | None = None) -> Screen:
    """The first screen of a section."""
    asked = BoardAsked() if asked is None else asked
    every = lines(section, verdicts)
    untouched = zero_shot_scores(section)
    with_zero = bool(untouched) and not any(line.row.untouched for line in every)
    shown = _first(every, verdicts, asked, with_zero)
    rest = [line for line in every if not any(line is one for one in shown)]
    summary = _summary(section, verdicts, shown, with_zero)
    return Screen(
        words=words(section, verdicts, every, warned, (said(section, asked.order), asked.limit)),
        lines=tuple(every),
        summary=tuple(summary),
        tasks=tuple(_tasks(section, verdicts, shown, with_zero)) if len(section.tasks) > 1 else (),
        caption=_caption(section, verdicts, shown, summary),
        rest=tuple(_summary(section, verdicts, rest, False)) if rest else (),
        hidden=len(rest),
    )


def _first(every: Sequence[Line], verdicts: Verdicts, asked: BoardAsked, with_zero: bool) -> list[Line]:
    """Of many lines the untouched model's, the best reference's, full MeZO's and the first methods', in their order."""
    if asked.most is None or len(every) + with_zero <= asked.most + (FITS - MOST):
        return list(every)
    references = [line for line in every if line.row.reference and not line.row.untouched]
    best = max(references, key=lambda line: line.average or 0.0, default=None)
    kept = {id(line) for line in every if line.row.untouched or line is best or line.row is verdicts.control}
    room = asked.most - with_zero - len(kept)
    others = [line for line in every if id(line) not in kept and not line.row.reference]
    kept |= {id(line) for line in others[: max(0, room)]}
    return [line for line in every if id(line) in kept]


def _named(line: Line) -> str:
    return f"*{line.row.name}*" if line.row.reference else line.row.name


def _share(line: Line) -> str:
    """` 11%`: how much of the model may move, where that is not all of it."""
    if line.share is None or line.share[0] >= 0.9995:
        return ""
    low, high = (f"{100 * one:.{2 if one < 0.995 else 3}g}" for one in line.share)  # of two figures 100 is 1e+02
    return f" {low}%" if low == high else f" {low}-{high}%"


def _summary(section: Section, verdicts: Verdicts, shown: Sequence[Line], with_zero: bool) -> list[Column]:
    def column(heading: str, cells: Sequence[str], zero: str = text.NONE, left: bool = False) -> Column:
        return Column(heading, ((zero, *cells) if with_zero else tuple(cells)), left)

    control = None if verdicts.control is None else f"vs {verdicts.control.name}".replace(" / ", "/")
    of_tasks = "▲=▼"
    unit, size = _unit(shown)
    over = "average" if len(section.tasks) > 1 else section.tasks[0]
    made = [
        column("#", [text.NONE if line.rank is None else str(line.rank) for line in shown]),
        column("method / scope", [_named(line) + _share(line) for line in shown], "*zero-shot*", left=True),
        column(over, [_average(line, section) for line in shown], _zero(section)),
        *([column(control, [_control(line, verdicts) for line in shown])] if control else []),
        column("gain", [text.NONE if line.gained is None else text.signed(line.gained) for line in shown]),
        column(of_tasks, [_counts(line) for line in shown]),
        column("speed-up", [text.NONE if line.speedup is None else f"{line.speedup:.2f}x" for line in shown]),
        column("ms/step", [text.NONE if line.step_s is None else text.milliseconds(line.step_s) for line in shown]),
        column(unit, [text.NONE if line.peak_bytes is None else f"{line.peak_bytes / size:.3g}" for line in shown]),
        column("forwards", [text.NONE if line.forwards is None else text.count(line.forwards) for line in shown]),
    ]
    return [one for one in made if not set(one.cells) <= {text.NONE, "="}]


def _average(line: Line, section: Section) -> str:
    if line.average is not None:
        return text.percent(line.average) + plus_minus(line.effect).replace(" ", "")  # a cell that does not break
    lost = sorted({s for task in section.tasks for s in line.row.entry(task).failed})
    return ", ".join(lost) or text.NONE


def _zero(section: Section) -> str:
    scores = zero_shot_scores(section)
    means = [stats.mean([s["value"] for s in scores[t].values()]) for t in section.scored if t in scores]
    return text.percent(stats.mean(means)) if means and len(means) == len(section.scored) else text.NONE


def _control(line: Line, verdicts: Verdicts) -> str:
    if line.row is verdicts.control:
        return "="
    if line.control is None:
        return text.NONE
    p = "" if line.control_p is None else f" p{_p(line.control_p)}"
    mark = EQUALS if line.control_verdict == stats.EQUAL else MARKS.get(line.control_verdict or stats.SAME, "")
    shown = text.signed(line.control.mean) + (ITEMS_ALONE if line.control.seeds_unseen else "")
    return f"{shown}{mark}{p}"


def _p(p: float) -> str:
    return "<.001" if p < 0.001 else "=1" if p > 0.995 else f"={p:.2g}".replace("=0", "=")


def _counts(line: Line) -> str:
    return text.NONE if line.counts is None else f"{line.counts.better}/{line.counts.same}/{line.counts.worse}"


def _unit(shown: Sequence[Line]) -> tuple[str, int]:
    """The unit of the column of peak memory: one for all, so that they compare at a glance."""
    most = max((line.peak_bytes for line in shown if line.peak_bytes is not None), default=0)
    return ("GiB", 1024**3) if most >= 1e9 else ("MiB", 1024**2)


def _tasks(section: Section, verdicts: Verdicts, shown: Sequence[Line], with_zero: bool) -> list[Column]:
    digits = 1 if len(section.tasks) <= FEW_TASKS else 0
    places = {id(row): at for at, row in enumerate(section.rows)}
    scores = zero_shot_scores(section)

    def cell(line: Line, task: str) -> str:
        entry = line.row.entry(task)
        mean = entry.mean()
        if mean is None or not entry.complete:
            return ", ".join(sorted(entry.failed)) or ("missing" if entry.missing else text.NONE)
        told = verdicts.gains.get((task, places[id(line.row)]), stats.SAME)
        return f"{100 * mean:.{digits}f}{MARKS.get(told, '').strip()}"

    def zero(task: str) -> str:
        found = scores.get(task)
        return text.NONE if not found else f"{100 * stats.mean([s['value'] for s in found.values()]):.{digits}f}"

    names = [_named(line) for line in shown]
    made = [Column("test score", ("*zero-shot*", *names) if with_zero else tuple(names), left=True)]
    for task in section.tasks:
        cells = [cell(line, task) for line in shown]
        made.append(Column(task, (zero(task), *cells) if with_zero else tuple(cells)))
    return made


def _caption(section: Section, verdicts: Verdicts, shown: Sequence[Line], summary: Sequence[Column]) -> str:
    """What the marks and columns mean, in as few words as do."""
    headings = {one.heading for one in summary}
    against = "zero-shot" if verdicts.control is None else "full MeZO"
    alone = any(ITEMS_ALONE in cell for one in summary for cell in one.cells)
    parts = [
        "±: half of the 95 % interval" + (f" ({ITEMS_ALONE} one seed: over test items alone)" if alone else ""),
        "%: of the parameters may move" if any(_share(line) for line in shown) else "",
        f"▲ ▼: better or worse beyond chance (Holm over {verdicts.tests} comparisons), ≈: as good within "
        f"{100 * stats.MARGIN:g} points; by task against zero-shot"
        if verdicts.tests
        else "",
        "# 1: best, or not told apart from it; (n): by average alone" if "#" in headings else "",
        f"▲=▼: tasks on which it is better, not told apart, worse than {against}" if "▲=▼" in headings else "",
        "speed-up: of a step, over full MeZO" if "speed-up" in headings else "",
        *(f"{unit}: peak memory" for unit in ("MiB", "GiB") if unit in headings),
        "forwards: to train at one learning rate" if "forwards" in headings else "",
    ]
    return "; ".join(part for part in parts if part) + "."


def markdown(found: Screen, level: int) -> list[str]:
    """The blocks of a first screen, its heading at `level`."""
    words = found.words
    out = [f"{'#' * level} {words.title}", " ".join([words.answer, *words.more])]
    out.append(_table(found.summary))
    if found.hidden:
        out += text.folded(text.plural(found.hidden, "more method"), [_table(found.rest)])
    by_task = _table(found.tasks)
    few = bool(found.tasks) and len(found.tasks[0].cells) <= BY_TASK
    out.append(by_task if few else "")
    following = [*words.following, "`zobench leaderboard DIR` writes `board.html`: curves, filters, items"]
    out.append(f"Next: {' · '.join(following)}")
    out += text.folded("Scores by task", [by_task]) if by_task and not few else []
    out += [" ".join(words.counted)]
    out.append(f"<sub>{found.caption}</sub>")
    return [block for block in out if block]


def _table(columns: Sequence[Column]) -> str:
    if not columns:
        return ""
    rows = [list(cells) for cells in zip(*(one.cells for one in columns), strict=True)]
    return text.table([one.heading for one in columns], rows, left=[one.left for one in columns])
