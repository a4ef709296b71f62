"""The leaderboard: a pure function of the records. Same records, in whatever order: same bytes. Light: no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ZobenchError
from . import choices, compare, costs, memory, notes, stats, tables, text, units
from . import paper as published
from .first import page
from .known import NOTHING, KnownNames
from .order import SORTED, Order, ordered
from .record import SEALED, Record
from .rows import Section
from .sections import sections
from .stats import Family

HOW_TO_READ = (
    "How to read: test scores in percent (accuracy; F1 where a task has it), higher is better; learning rate and "
    "checkpoint were chosen on dev, test was read once. References are in italics, {}. "
    "± is half the width of the 95 % interval, over seeds and test items together. In tables "
    "**bold** is only what is better than every other method in its column beyond chance. "
    f"`{text.NONE}` is not run, or nothing to show; a failed cell says how it failed."
)
RULES: Mapping[Family, str] = {
    "board": "all {} comparisons of this section",
    "claim": "the comparisons of one claim (the best of every column; every gain), {} at most",
    "column": "the comparisons of one column, {} at most",
}
RULE = (
    "Bold and ▲ ▼: differences paired over test items and seeds, both taken as drawn (two-way, Student's t), "
    "Holm-corrected over {}, p < {:g}; with {} seeds or more, the same on both sides. A seed that is missing or "
    "failed is a failure. References take no part in bold."
)
SPREAD = (
    "### Spread\n\nIn points: standard deviation between seeds, standard error of one seed over test items (binomial "
    "for accuracy, of the mean otherwise); in brackets seeds × test items."
)
GAIN = (
    "### Gain over zero-shot\n\nPoints over the untouched model on the same test items, ± half of the 95 % interval; "
    "▲ ▼: better or worse beyond chance."
)
SPEED = (
    "Speed-up over full-scope MeZO in the official order, both measured in the cell on the same batches in turn: "
    "speed-up: milliseconds per step of MeZO to the method's (forward + perturb + update), medians."
)
LAYERS = "### Layers\n\nDecoder blocks that could move; shown because they differ by task or seed."
FORWARDS = (
    "### Forward passes\n\nMean of a cell, all learning rates of its grid included. A forward is one pass of the model "
    "over one batch."
)
RATES = (
    "### Learning rates\n\nChosen on dev; ↑ ↓: the upper or lower end of the grid; in brackets, learning rates that "
    "failed, counted over seeds."
)


@dataclass(frozen=True)
class Board:
    """A board: its Markdown, ending in a newline, and the first screen of each section, which a terminal prints."""

    markdown: str
    screens: tuple[page.Screen, ...]
    sections: tuple[Section, ...]
    verdicts: tuple[compare.Verdicts, ...]
    problems: tuple[str, ...]
    """Records that could not be read, a line each."""


def render(records: Iterable[Record], **options: Any) -> str:
    """The board as Markdown: see `board`, whose options it takes."""
    return board(records, **options).markdown


def board(
    records: Iterable[Record],
    *,
    paper: bool = False,
    columns: Mapping[str, Callable[[list[Record]], str]] | None = None,
    split_protocols: bool = False,
    problems: Sequence[object] = (),
    family: Family = "board",
    known: KnownNames = NOTHING,
    most_bytes: int | None = None,
    order: Order = "average",
) -> Board:
    """The board of some records.

    `columns` are plugins' (heading -> function of a row's records to its text), `problems` records that could not be
    read, which the board must not pass over in silence. With `paper` the published numbers stand beside ours. `family`:
    over which comparisons marks are corrected. `known`: of names, to say what a further run would be. `most_bytes`:
    methods of which a cell's peak memory is above it, or not known, are left out, and the board says which. `order`:
    what the methods are sorted by.
    Raises ZobenchError for no records, and for records that may not stand in one table (`split_protocols` gives each
    protocol its own section instead).
    """
    every = sections(records, split_protocols=split_protocols, known=known)
    limits: list[memory.MemoryLimit | None] = [None] * len(every)
    if most_bytes is not None:
        limits = [memory.MemoryLimit(most_bytes, tuple(memory.above(section, most_bytes))) for section in every]
        every = [memory.within(section, most_bytes) for section in every]
    every = [ordered(section, order) for section in every]
    if not every:
        raise ZobenchError(
            "no records to make a leaderboard of (those of tuning seeds are not reported): make some with `zobench run`"
        )
    alone = len(every) == 1
    parts = [] if alone else ["# zobench leaderboard"]
    screens, verdicts = [], [compare.judge(section, family) for section in every]
    for section, judged, limit in zip(every, verdicts, limits, strict=True):
        asked = page.BoardAsked(order, limit, level=1 if alone else 2)
        found, blocks = _section(section, columns or {}, judged, family, asked)
        screens.append(found)
        parts += blocks
        parts += [block] if paper and (block := published.beside(section)) else []
    if paper and (block := published.apart(every)):
        parts += text.folded("The paper's numbers for other models", [block])
    unread = sorted(text.foreign(str(problem)) for problem in problems)
    if unread:
        parts[1:1] = ["**Records that could not be read, and are not in this board:**", text.bullets(unread)]
    how = text.folded("How to read", [HOW_TO_READ.format(SORTED[order])])
    made = "\n\n".join([*parts, "---", *how, _foot(every)]) + "\n"
    return Board(made, tuple(screens), tuple(every), tuple(verdicts), tuple(unread))


def _section(
    section: Section,
    columns: Mapping[str, Callable[[list[Record]], str]],
    verdicts: compare.Verdicts,
    family: Family,
    asked: page.BoardAsked,
) -> tuple[page.Screen, list[str]]:
    further, faults = notes.plugin_columns(columns)
    shared, settings = choices.settings_table(section)
    rule = RULE.format(RULES[family].format(verdicts.tests), stats.ALPHA, stats.MARK_SEEDS)
    # Before the warnings: `faults` fills as the plugins' columns are called.
    cost = costs.cost_table(section, further)
    warned = [*notes.warnings(section, verdicts), *faults]
    found = page.screen(section, verdicts, warned, asked)
    scores = [
        _score_caption(section),
        tables.score_table(section, verdicts),
        *_listed("Best by column", notes.standings(section, verdicts), rule),
        *_part(GAIN, tables.gain_table(section, verdicts)),
        *_part(SPREAD, tables.spread_table(section)),
    ]
    costly = [
        *_part(_cost_caption(section), cost),
        *_part(SPEED, costs.speed_table(section)),
        *_part(LAYERS, costs.layer_table(section)),
        *_part(FORWARDS, costs.forwards_table(section)),
    ]
    chosen = [*_part(RATES, choices.rate_table(section)), *_part(f"### Settings\n\nOf all rows: {shared}.", settings)]
    failed = choices.failure_table(section)
    return found, [
        *page.markdown(found, asked.level),
        *text.folded(f"All scores: {RULED}", scores),
        *text.folded("Costs: time, memory, layers, forward passes", costly),
        *text.folded("Learning rates and settings", chosen),
        *text.folded("Data, protocol and departures from it", _head(section)),
        *text.folded(text.plural(len(warned), "warning"), _listed("Warnings", warned)),
        *text.folded(_failed(section), _part("### Failed cells", failed)),
    ]


RULED = "by column, gains, spread, what is told apart"


def _failed(section: Section) -> str:
    return text.plural(sum(r["status"] != "ok" for r in section.records), "failed cell")


def _part(caption: str, table: str) -> list[str]:
    """A table under its caption; neither where the table has no rows."""
    return [caption, table] if table else []


def _head(section: Section) -> list[str]:
    told = f" ({text.settings(section.distinct)})" if section.distinct else ""
    version = text.value(section.protocol.get("version", text.NONE))
    revision = f" Revision `{section.revision}`." if section.revision else ""
    departures = [*published.protocol_differences(section.protocol), *notes.departures(section)]
    lines = [
        f"### {section.model}, {section.data} data, protocol {version}{told}",
        f"{notes.data_line(section)}{revision} Seeds: {notes.seeds_of(section)}.{notes.tuning_of(section)}",
        f"Protocol: {text.settings(text.flat(section.protocol))}.",
    ]
    return lines + _listed("Departures from the protocol", departures)


def _score_caption(section: Section) -> str:
    one = any(e.effect is not None and e.effect.seeds_unseen for row in section.rows for e in row.entries.values())
    alone = (
        f" {tables.ITEMS_ALONE}: one seed, over test items alone: what another seed would give is not in it."
        if one
        else ""
    )
    tasks = text.plural(len(section.scored), "task")
    return (
        f"### Test score\n\n± is half the width of the 95 % interval.{alone}"
        f"{units.caption(section.metric)} The average is over the {tasks} that any "
        "method finished; a method that lacks one of them, or a seed of one, has none. Gain: of the average over "
        "zero-shot, paired; without a task: the range of that gain when any one task is left out."
    )


def _cost_caption(section: Section) -> str:
    devices = sorted({notes.device(r) for r in section.records if r["status"] == "ok"})
    on = f" On {'; '.join(devices)}." if devices else ""
    return (
        "### Cost\n\nMilliseconds per step in training (medians over steps, means over seeds and tasks), the largest "
        "peak memory of a cell (all that was held, weights included), the method's own state; speed-up: geometric mean "
        f"over tasks.{on}"
    )


def _listed(title: str, lines: Sequence[str], head: str = "") -> list[str]:
    if not lines:
        return []
    return [f"**{title}.** {head}".rstrip(), text.bullets(lines)]


def _foot(every: Sequence[Section]) -> str:
    records = [record for section in every for record in section.records]
    versions = sorted({text.value(section.protocol.get("version", text.NONE)) for section in every})
    schemas = sorted({record["schema"] for record in records})
    ok = sum(record["status"] == "ok" for record in records)
    total = text.plural(len(records), "record")
    bare = sum(record["schema"] < SEALED for record in records)
    unsealed = f" ({text.plural(bare, 'record')} of schema 1, without a checksum)" if bare else ""
    tuning = sum(len(section.tuning) for section in every)
    apart = f"; {tuning} more of tuning seeds" if tuning else ""
    return (
        f"{total}, {ok} ok, {len(records) - ok} failed{apart}; schema {', '.join(map(str, schemas))}{unsealed}; "
        f"protocol {', '.join(versions)}. Made from the records alone by `zobench leaderboard`."
    )
