"""Papers as data: a TOML file each, with the numbers that it prints and the grids that they are of. Light: no torch."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ZobenchError, unknown

AVERAGE = "average"
"""The name of a row's mean over its table's tasks, among its scores."""


@dataclass(frozen=True)
class PrintedRow:
    """A row of a table: what runs it, and the scores that the paper prints, in percent, by task.

    runs: the selector that stands for it in any model; `{n-1}`, `{n-2}`: blocks counted from the end of its n.
    """

    method: str
    estimator: str
    runs: str
    grid: str
    scores: Mapping[str, float]
    times: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of a table of step times: by task the seconds of a step (`total_s`) and of its phases."""


@dataclass(frozen=True)
class PrintedTable:
    """A table of scores. `sweeps`: the selector of block {k}, where rows below two references are one block each.

    on: tasks that its rows are run on in the place of the paper's, which has no numbers for them.
    """

    number: str
    model: str
    rows: tuple[PrintedRow, ...]
    sweeps: str = ""
    on: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of its columns."""
        printed = dict.fromkeys(task for row in self.rows for task in (*row.scores, *row.times) if task != AVERAGE)
        return self.on or tuple(printed)

    @property
    def timed(self) -> bool:
        """Whether it is of step times, not of scores."""
        return any(row.times for row in self.rows)


@dataclass(frozen=True)
class PrintedGrid:
    """How rows are run: `settings` at every budget; `lr`, `protocol` and `epochs` (0: its steps) at the paper's.

    lr_of: rates of tasks that have others.
    """

    lr: tuple[float, ...] = ()
    lr_of: Mapping[str, Sequence[float]] = field(default_factory=dict)
    settings: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] | None = None
    epochs: int = 0


@dataclass(frozen=True)
class PrintedClaim:
    """What the paper says of two rows of a table: that the first is `better`, or `as good`."""

    says: str
    table: str
    verdict: str
    first: str
    second: str


@dataclass(frozen=True)
class PrintedFigure:
    """A figure: what command draws it, of which tables' rows or on which tasks."""

    number: str
    draws: str
    tables: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedBlock:
    """What stands for a block that the user names.

    finds: the selector whose place it takes. named: the selector of block {k}. settings: by selector, the setting that
    names the block to it.
    """

    finds: str
    named: str
    settings: Mapping[str, str]


@dataclass(frozen=True)
class Paper:
    """One paper: its tables by number, its figures, its grids by name, its claims. `data`: the whole file."""

    name: str
    title: str
    arxiv: str
    tables: Mapping[str, PrintedTable]
    figures: Mapping[str, PrintedFigure]
    grids: Mapping[str, PrintedGrid]
    claims: tuple[PrintedClaim, ...]
    block: NamedBlock | None
    data: Mapping[str, Any]


def names() -> list[str]:
    """The papers that there are."""
    found = (entry.name for entry in importlib.resources.files(__package__).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


@functools.cache
def read(name: str) -> Paper:
    """A paper by name. Raises ZobenchError for one that is not there."""
    if name not in names():
        raise ZobenchError(unknown("paper", name, names()))
    data = tomllib.loads(importlib.resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    tables = [_table(one) for one in data["scores"]] + [_sweep(one) for one in data.get("layerwise", ())]
    tables += _timed(data["speed"]) if "speed" in data else []
    return Paper(
        name=name,
        title=data["source"]["title"],
        arxiv=data["source"]["arxiv"],
        tables={table.number: table for table in sorted(tables, key=lambda table: int(table.number))},
        figures={one["number"]: PrintedFigure(**_tuples(one)) for one in data.get("figures", ())},
        grids={grid: PrintedGrid(**_tuples(one)) for grid, one in data["grids"].items()},
        claims=tuple(PrintedClaim(**one) for one in data.get("claims", ())),
        block=NamedBlock(**data["block"]) if "block" in data else None,
        data=data,
    )


def tables_of(paper: Paper, numbers: Sequence[str]) -> list[PrintedTable]:
    """The tables of these numbers, `10..13` for several; all where none are named. Raises ZobenchError."""
    wanted = [one for text in numbers for one in _range(text)]
    for number in wanted:
        if number not in paper.tables:
            raise ZobenchError(unknown(f"table of {paper.name}", number, paper.tables))
    return [paper.tables[number] for number in dict.fromkeys(wanted or paper.tables)]


def _range(text: str) -> list[str]:
    first, dots, last = text.partition("..")
    if dots and first.isdecimal() and last.isdecimal():
        return [str(number) for number in range(int(first), int(last) + 1)]
    return [text]


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _table(one: Mapping[str, Any]) -> PrintedTable:
    return PrintedTable(one["table"], one["model"], tuple(map(_row, one["rows"])))


def _row(one: Mapping[str, Any]) -> PrintedRow:
    return PrintedRow(one["method"], one["estimator"], one["runs"], one["grid"], one["scores"])


def _sweep(one: Mapping[str, Any]) -> PrintedTable:
    """A table of single blocks, with the untouched model and all weights above them."""
    estimator, grid, runs = one["estimator"], one["grid"], one["runs"]
    untouched, nothing, of_it = runs["untouched"]
    references = (
        PrintedRow("zero-shot", untouched, nothing, of_it, one["zero_shot"]),
        PrintedRow("all weights", estimator, runs["all"], grid, one["full"]),
    )
    blocks = (
        PrintedRow(f"block {k}", estimator, runs["one"].replace("{k}", str(k)), grid, scores)
        for k, scores in enumerate(one["layers"])
    )
    return PrintedTable(one["table"], one["model"], (*references, *blocks), runs["one"])


def _timed(one: Mapping[str, Any]) -> list[PrintedTable]:
    """Tables of step times: the same rows under each of their numbers, `4 and 13`."""
    rows = tuple(
        PrintedRow(row["method"], row["estimator"], row["runs"], row["grid"], {}, row["tasks"]) for row in one["rows"]
    )
    return [PrintedTable(number.strip(), one["model"], rows) for number in one["table"].split("and")]
