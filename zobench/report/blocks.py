"""Decoder blocks tuned one at a time (`--selector layer:0,layer:1,...`): how well each did.

The best block is chosen on dev and reported on test; the best of eight on test would look better than it is. Light: no
torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from . import facts as facts_of
from . import stats, text
from .entry import Entry, draw_of
from .known import KnownNames
from .record import Record
from .sections import reported
from .stats import BETTER, UNTESTED, Draw, Effect, Verdict
from .tables import MARKS, plus_minus, points

Group = tuple[str, str, str]
"""Model, estimator, task."""


@dataclass(frozen=True)
class Sweep:
    """One estimator on one task: every block alone, and what stands beside them."""

    model: str
    estimator: str
    task: str
    blocks: Mapping[int, Entry]
    full: Entry
    """The entry of all weights, if it was run."""
    outlier: tuple[int, ...]
    """The blocks that the selector of the outlier block chose, where it was run: one, if its seeds agree."""
    chooser: str = ""
    """The name of that selector."""

    @cached_property
    def ranked(self) -> list[int]:
        """The blocks from the lowest mean dev loss to the highest, of equal ones the lower first; unknown ones last."""
        return sorted(self.blocks, key=lambda block: (dev_loss(self.blocks[block]), block))

    @property
    def chosen(self) -> int:
        """The block that is best on dev. As test did not choose it, its test score is not the luckiest of many."""
        return self.ranked[0]

    @property
    def middle(self) -> int:
        """The block in the middle of that ranking; of two, the better one."""
        return self.ranked[(len(self.ranked) - 1) // 2]

    def rivals(self) -> list[tuple[str, Entry]]:
        """What the chosen block is held against: the middle one, the outlier block, all weights."""
        out = [(f"the middle block ({self.middle})", self.blocks[self.middle])]
        out += [(f"the outlier block ({n})", self.blocks[n]) for n in self.outlier if n in self.blocks]
        out += [("all weights", self.full)] if self.full.done else []
        return [(name, entry) for name, entry in out if entry is not self.blocks[self.chosen]]

    def against(self, entry: Entry) -> Effect | None:
        """The chosen block against another entry, paired over test items and seeds."""
        return self.blocks[self.chosen].minus(entry)


def dev_loss(entry: Entry) -> float:
    """The mean dev loss of an entry's chosen checkpoints; infinite where one is not known."""
    found = [r["metrics"].get("dev", {}).get("loss") for r in entry.done.values()]
    known = [loss for loss in found if loss is not None]
    return stats.mean(known) if known and len(known) == len(found) else float("inf")


def sweeps(records: Iterable[Record], known: KnownNames) -> list[Sweep]:
    """The sweeps that these records hold: of all estimators and tasks for which two blocks or more were tuned alone."""
    blocks: dict[Group, dict[int, dict[Draw, Record]]] = defaultdict(lambda: defaultdict(dict))
    full: dict[Group, dict[Draw, Record]] = defaultdict(dict)
    outlier: dict[Group, set[int]] = defaultdict(set)
    expected: dict[Group, set[Draw]] = defaultdict(set)
    for record in filter(reported, map(text.inert, records)):
        cell, scope = record["cell"], record["scope"]
        group = (cell["model"], cell["estimator"], cell["task"])
        block = _block(record, known)
        if block is not None:
            blocks[group][block][draw_of(record)] = record
            expected[group].add(draw_of(record))
        elif cell["selector"] in known.everything:
            full[group][draw_of(record)] = record
        elif cell["selector"] in known.outlier_block and record["status"] == "ok" and scope is not None:
            outlier[group].update(scope["layers"])
    return [
        Sweep(
            *group,
            {block: entry for block, entry in _entries(found, expected[group]).items() if entry.done},
            Entry(full.get(group, {}), frozenset(expected[group])),
            tuple(sorted(outlier.get(group, ()))),
            "/".join(known.outlier_block),
        )
        for group, found in sorted(blocks.items())
        if sum(entry.done != {} for entry in _entries(found, expected[group]).values()) > 1
    ]


def _entries(found: Mapping[int, Mapping[Draw, Record]], expected: set[Draw]) -> dict[int, Entry]:
    return {block: Entry(draws, frozenset(expected)) for block, draws in sorted(found.items())}


def _block(record: Record, known: KnownNames) -> int | None:
    """The one block that a record's cell tunes; None where it is no cell of a sweep."""
    selector, scope = record["cell"]["selector"], record["scope"]
    name, colon, index = selector.partition(":")
    if name not in known.one_block or not colon:
        return None
    if scope is not None:
        return scope["layers"][0] if len(scope["layers"]) == 1 else None
    return int(index) if index.isdecimal() else None


HOW = (
    "Test, in percent, ± half of the 95 % interval over seeds and test items (¹: one seed, over test items alone). "
    "†: the block with the lowest mean dev loss. **Bold**: better than every other block of its column beyond "
    "chance; ▲ ▼ below: better or worse than what it is held against. Both Holm-corrected over all {} comparisons of "
    "this page, with {} seeds or more."
)


def markdown(found: Sequence[Sweep]) -> str:
    """A table a model and estimator, a column a task, a row a block; and the chosen block against others in words."""
    compared = _compared(found)
    told = stats.verdicts(compared)
    tables: dict[tuple[str, str], list[tuple[int, Sweep]]] = defaultdict(list)
    for at, sweep in enumerate(found):
        tables[sweep.model, sweep.estimator].append((at, sweep))
    how = HOW.format(len(stats.corrected(compared)), stats.MARK_SEEDS)
    parts = [
        f"## {e} on {m}\n\n{_table(group, told)}\n\n{_said(group, told, compared)}" for (m, e), group in tables.items()
    ]
    return "\n\n".join([how, *parts])


Key = tuple[int, str]
"""A comparison of the page: the sweep's place, and what its block is held against."""


def _compared(found: Sequence[Sweep]) -> dict[Key, Effect | None]:
    out: dict[Key, Effect | None] = {}
    for at, sweep in enumerate(found):
        best = _best(sweep)
        for block, entry in sweep.blocks.items():
            if block != best:
                out[at, f"{best} {block}"] = sweep.blocks[best].minus(entry)
        out |= {(at, name): sweep.against(entry) for name, entry in sweep.rivals()}
    return out


def _best(sweep: Sweep) -> int:
    """The block with the highest mean test score: the only one that could be better than all others."""
    return max(sweep.blocks, key=lambda block: (stats.mean(sweep.blocks[block].values()), -block))


def _table(group: Sequence[tuple[int, Sweep]], told: Mapping[Key, Verdict]) -> str:
    numbers = sorted({block for _, sweep in group for block in sweep.blocks})
    rows = [[str(n), *(_score(s.blocks.get(n), n, at, s, told) for at, s in group)] for n in numbers]
    rows.append(["all weights", *(_plain(s.full) for _, s in group)])
    if chooser := group[0][1].chooser:
        rows.append([f"{chooser} chose", *(", ".join(map(str, s.outlier)) or text.NONE for _, s in group)])
    return text.table(["block", *(s.task for _, s in group)], rows, left=1)


def _score(entry: Entry | None, block: int, at: int, sweep: Sweep, told: Mapping[Key, Verdict]) -> str:
    if entry is None:
        return text.NONE
    shown = _plain(entry) + ("†" if block == sweep.chosen else "")
    others = [told.get((at, f"{block} {other}"), UNTESTED) for other in sweep.blocks if other != block]
    return f"**{shown}**" if all(one == BETTER for one in others) else shown


def _plain(entry: Entry) -> str:
    return f"{text.percent(stats.mean(entry.values()))}{plus_minus(entry.effect)}" if entry.done else text.NONE


def _said(
    group: Sequence[tuple[int, Sweep]], told: Mapping[Key, Verdict], compared: Mapping[Key, Effect | None]
) -> str:
    lines = []
    for at, sweep in group:
        said = [_against(name, compared[at, name], told[at, name]) for name, _ in sweep.rivals()]
        if said:
            lines.append(f"{sweep.task}: dev chooses block {sweep.chosen}; on test, against {'; '.join(said)}.")
    return text.bullets(lines)


def _against(name: str, one: Effect | None, verdict: Verdict) -> str:
    if one is None:
        return f"{name} it cannot be compared"
    return f"{name} {points(one)}{MARKS.get(verdict, '')} ({one.seeds} × {one.items})"


def facts(found: Sequence[Sweep]) -> list[dict[str, Any]]:
    """For programs: a sweep each, with its verdicts over all comparisons of the page."""
    compared = _compared(found)
    told = stats.verdicts(compared)
    return [
        {
            **of_sweep(sweep),
            "against": [
                {"name": name, "difference": facts_of.effect(compared[at, name]), "verdict": told[at, name]}
                for name, _ in sweep.rivals()
            ],
        }
        for at, sweep in enumerate(found)
    ]


def of_sweep(sweep: Sweep) -> dict[str, Any]:
    """For programs: the blocks of a sweep, and what stands beside them."""
    return {
        "model": sweep.model,
        "estimator": sweep.estimator,
        "task": sweep.task,
        "blocks": [
            {"block": n, "test": facts_of.entry(one), "dev_loss": dev_loss(one), "zero_shot": one.mean("zero_shot")}
            for n, one in sweep.blocks.items()
        ],
        "chosen": sweep.chosen,
        "outlier": list(sweep.outlier),
        "all_weights": facts_of.entry(sweep.full),
    }
