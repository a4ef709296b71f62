"""The first screen of a board in a terminal: sized to its width, the answer last. Imports no torch."""

from __future__ import annotations

import html
import re
import shutil
import sys
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..report.first.page import Column, Screen
    from ..report.leaderboard import Board

PIPED = 120
"""Columns where the output is no terminal and COLUMNS says nothing."""

_MARKUP = re.compile(r"\*\*|^\*(?=[^*])|(?<=[^* ])\*(?= |$)|</?sub>")
GAP = 2


def show(board: Board, of: Set[str] | None = None) -> None:
    """Print the first screen of every section; what is folded in the file is not shown.

    of: ids of records; sections that have none of them are counted, and not shown, where another one has some.
    """
    width = shutil.get_terminal_size((PIPED, 24)).columns
    every = list(zip(board.screens, board.sections, strict=True))
    mine = [screen for screen, section in every if of is None or any(r["id"] in of for r in section.records)]
    shown = mine or list(board.screens)
    if len(shown) < len(every):
        print(f"Of the {len(every)} boards of this folder the {len(shown)} of this run:\n")
    for n, one in enumerate(shown):
        print("\n" * (n > 0) + "\n".join(lines(one, width)))
    for problem in board.problems:
        print(f"could not be read, and is not in this board: {plain(problem)}")
    sys.stdout.flush()


def lines(screen: Screen, width: int) -> list[str]:
    """The lines of one section: title, tables, what is counted, what to do next, and the answer at the end."""
    words = screen.words
    out = [plain(words.title), ""]
    out += _table(screen.summary, width)
    if screen.hidden:
        out.append(f"and {screen.hidden} more: --full shows all")
    for columns in _chunks(screen.tasks, width):
        out += ["", *_table(columns, width)]
    out += ["", *_wrapped(plain(screen.caption), width)]
    for said in words.counted:
        out += _wrapped(f"{plain(said)} --full lists them.", width)
    following = [*words.following, "`zobench leaderboard DIR --full`"]
    out += _wrapped("Next: " + plain(" · ".join(following)).replace("`", ""), width)
    out += ["", *_wrapped(" ".join([plain(words.answer), *map(plain, words.more)]), width)]
    return out


def plain(said: str) -> str:
    """Text of a board without what only Markdown needs; control characters as escapes."""
    from ..report.text import printable

    return printable(html.unescape(_MARKUP.sub("", said)))


def _wrapped(said: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(said, max(20, width), break_long_words=False, break_on_hyphens=False)


def _cells(column: Column) -> list[str]:
    return [plain(one) for one in (column.heading, *column.cells)]


def _width(column: Column) -> int:
    from rich.cells import cell_len

    return max(cell_len(one) for one in _cells(column))


def _table(columns: Sequence[Column], width: int) -> list[str]:
    """The columns that fit, from the first on: they stand in the order of their worth."""
    kept, used = list(columns[:2]), sum(_width(one) + GAP for one in columns[:2])
    for column in columns[2:]:
        if used + _width(column) > width:
            break
        kept.append(column)
        used += _width(column) + GAP
    left_out = [plain(one.heading) for one in columns[len(kept) :]]
    made = [_padded(one) for one in kept]
    rows = [(" " * GAP).join(cells).rstrip() for cells in zip(*made, strict=True)]
    rows.insert(1, "-" * max(map(len, rows)))
    return rows + ([f"(wider: {', '.join(left_out)})"] if left_out else [])


def _padded(column: Column) -> list[str]:
    from rich.cells import cell_len

    wide = _width(column)
    return [one + pad if column.left else pad + one for one in _cells(column) for pad in [" " * (wide - cell_len(one))]]


def _chunks(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """A column a task in as many tables as the width needs, the methods' names in each."""
    if not columns:
        return []
    name, *rest = columns
    out: list[list[Column]] = [[name]]
    used = start = _width(name)
    for column in rest:
        needed = GAP + _width(column)
        if used + needed > width and len(out[-1]) > 1:
            out.append([name])
            used = start
        out[-1].append(column)
        used += needed
    return out
