"""Blocks tuned one at a time, from the records of `--selector layer:0,layer:1,...`: which one did how well.

Light: imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from . import stats, text
from .record import Record
from .rows import Entry

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
    """All the weights, where that was run."""
    outlier: tuple[int, ...]
    """The blocks that `first_outlier` chose, where it was run: one, if its seeds agree."""

    @cached_property
    def ranked(self) -> list[int]:
        """The blocks from the best mean test score to the worst; of equal ones the lower first."""
        return sorted(self.blocks, key=lambda block: (-stats.mean(self.blocks[block].values()), block))

    @property
    def best(self) -> int:
        """The block with the best mean test score. It is chosen on test: an upper end, not a selector."""
        return self.ranked[0]

    @property
    def middle(self) -> int:
        """The block in the middle of the ranking; of two, the better one."""
        return self.ranked[(len(self.ranked) - 1) // 2]

    def against(self, entry: Entry) -> stats.Comparison | None:
        """The best block against another entry, paired over the test items."""
        return stats.compare(self.blocks[self.best].items(), entry.items())


def sweeps(records: Iterable[Record]) -> list[Sweep]:
    """The sweeps that these records hold: of all estimators and tasks for which two blocks or more were tuned alone."""
    blocks: dict[Group, dict[int, dict[int, Record]]] = defaultdict(lambda: defaultdict(dict))
    full: dict[Group, dict[int, Record]] = defaultdict(dict)
    outlier: dict[Group, set[int]] = defaultdict(set)
    for record in records:
        cell, scope = record["cell"], record["scope"]
        if record["status"] != "ok" or scope is None:
            continue
        group = (cell["model"], cell["estimator"], cell["task"])
        if cell["selector"].startswith("layer:") and len(scope["layers"]) == 1:
            blocks[group][scope["layers"][0]][cell["seed"]] = record
        elif cell["selector"] == "all":
            full[group][cell["seed"]] = record
        elif cell["selector"] == "first_outlier":
            outlier[group].update(scope["layers"])
    return [
        Sweep(
            *group,
            {block: Entry(seeds) for block, seeds in sorted(found.items())},
            Entry(full.get(group, {})),
            tuple(sorted(outlier.get(group, ()))),
        )
        for group, found in sorted(blocks.items())
        if len(found) > 1
    ]


def error(entry: Entry) -> float:
    """The standard error of the mean test score: over seeds, or over items where there is one seed."""
    over_seeds = stats.mean_stderr(entry.values())
    return entry.stderr() if over_seeds is None else over_seeds


def markdown(found: Iterable[Sweep]) -> str:
    """A table a model and estimator, a column a task, a row a block; and the best block against the others in words."""
    tables: dict[tuple[str, str], list[Sweep]] = defaultdict(list)
    for sweep in found:
        tables[sweep.model, sweep.estimator].append(sweep)
    return "\n\n".join(f"## {e} on {m}\n\n{_table(group)}\n\n{_said(group)}" for (m, e), group in tables.items())


def _table(group: list[Sweep]) -> str:
    numbers = sorted({block for sweep in group for block in sweep.blocks})
    rows = [[str(n), *(_score(s.blocks.get(n), best=n == s.best) for s in group)] for n in numbers]
    rows.append(["all weights", *(_score(s.full) for s in group)])
    rows.append(["first_outlier chose", *(", ".join(map(str, s.outlier)) or "-" for s in group)])
    return text.table(["block", *(s.task for s in group)], rows, left=1)


def _score(entry: Entry | None, *, best: bool = False) -> str:
    if entry is None or not entry.done:
        return "-"
    shown = f"{text.percent(stats.mean(entry.values()))} ± {text.percent(error(entry))}"
    return f"**{shown}**" if best else shown


def _said(group: list[Sweep]) -> str:
    lines = []
    for sweep in group:
        rivals = [("the middle block", sweep.middle, sweep.blocks[sweep.middle])]
        rivals += [
            ("the outlier block", block, sweep.blocks[block]) for block in sweep.outlier if block in sweep.blocks
        ]
        said = [_against(sweep, f"{name} ({block})", entry) for name, block, entry in rivals]
        if sweep.full.done:
            said.append(_against(sweep, "all weights", sweep.full))
        lines.append(f"{sweep.task}: block {sweep.best} is best; against {'; '.join(said)}.")
    lines.append("The best block is the best on test: no selector that sees dev alone can be relied on to find it.")
    return text.bullets(lines)


def _against(sweep: Sweep, name: str, entry: Entry) -> str:
    compared = sweep.against(entry)
    if compared is None:
        return f"{name} cannot be compared"
    return f"{name} {text.signed(compared.difference)} ± {text.percent(compared.stderr)} (over {compared.items} items)"
