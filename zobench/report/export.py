"""A board as CSV, JSON and LaTeX, and its records as flat rows, as numbers. Light."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import stats, text, units
from .first.lines import Line
from .leaderboard import Board
from .record import Record
from .rows import Section
from .web.payload import plain

SCHEMA = 1
"""Of the JSON; it changes when a key changes its meaning."""


def as_rows(board: Board) -> list[dict[str, Any]]:
    """A flat row a method. Scores and differences are fractions, p is Holm's, times seconds, memory bytes."""
    return [
        _row(section, line)
        for section, screen in zip(board.sections, board.screens, strict=True)
        for line in screen.lines
    ]


def as_csv(board: Board) -> str:
    """`as_rows`, an empty cell where nothing is known."""
    return table(as_rows(board))


def as_json(board: Board) -> str:
    """`as_rows` by section, with what the section is and says. Ends in a newline."""
    made = [
        {
            "model": plain(section.model),
            "model_revision": section.revision,
            "data": section.data,
            "protocol": section.protocol,
            "tasks": list(map(plain, section.tasks)),
            "answer": plain(screen.words.answer.replace("**", "")),
            "more": list(map(plain, screen.words.more)),
            "methods": [_row(section, line) for line in screen.lines],
        }
        for section, screen in zip(board.sections, board.screens, strict=True)
    ]
    return json.dumps({"schema": SCHEMA, "sections": made}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _row(section: Section, line: Line) -> dict[str, Any]:
    row = line.row
    out: dict[str, Any] = {
        "model": plain(section.model),
        "data": section.data,
        "section": text.settings(section.distinct) if section.distinct else "",
        "method": plain(row.method),
        "selector": plain(row.where),
        "reference": row.reference,
        "rank": None if line.rank is None else line.rank.place,
        "rank_tested": None if line.rank is None else line.rank.tested,
        "average": line.average,
        "average_half95": None if line.effect is None else line.effect.half(),
        "gain": line.gained,
        "gain_half95": None if line.gain is None else line.gain.half(),
        "vs_full_mezo": None if line.control is None else line.control.mean,
        "vs_full_mezo_half95": None if line.control is None else line.control.half(),
        "vs_full_mezo_p": line.control_p,
        "vs_full_mezo_verdict": line.control_verdict,
        "share": None if line.share is None else line.share[1],
        "speedup": line.speedup,
        "step_s": line.step_s,
        "peak_bytes": line.peak_bytes,
        "forwards": line.forwards,
    }
    for name in ("better", "same", "worse"):
        out[f"tasks_{name}"] = None if line.counts is None else getattr(line.counts, name)
    for task in section.tasks:
        entry, name = row.entry(task), f"test.{plain(task)}"
        out[name] = entry.mean()
        out[f"{name}.half95"] = None if entry.effect is None else entry.effect.half()
        out[f"{name}.seeds"] = len(entry.done) if entry.records else None
        out[f"{name}.failed"] = ", ".join(sorted(entry.failed)) or None
    return out


# ---- records


def flat(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A flat row a cell, keys joined by dots; scores by item and curves are left out, which are no single values."""
    return [_flat(record) for record in records]


_NO_COLUMNS = frozenset({"items", "predicted", "clusters", "trials", "files", "names", "schema"})


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, one in value.items():
        if key in _NO_COLUMNS:
            continue
        if isinstance(one, Mapping):
            out |= _flat(one, f"{prefix}{key}.")
        else:
            out[f"{prefix}{key}"] = json.dumps(one, sort_keys=True) if isinstance(one, list | tuple) else one
    return out


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV: the columns of all of them, in the order in which they come up; ends in a newline."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _safe(v) for k, v in row.items()} for row in rows)
    return out.getvalue()


def _safe(value: Any) -> Any:
    """A text that a spreadsheet does not take for a formula; whole numbers and floats as they are."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t", "\r") else value


# ---- LaTeX


def as_latex(board: Board) -> str:
    """A `tabular` a section, for booktabs: scores in percent ± half of the 95 % interval, bold as on the board."""
    parts = ["% needs \\usepackage{booktabs} and, for wide tables, \\usepackage{graphicx}"]
    for section, screen in zip(board.sections, board.screens, strict=True):
        parts.append(_tabular(section, screen.lines, _best(section, board)))
    return "\n\n".join(parts) + "\n"


def _best(section: Section, board: Board) -> Mapping[str, Any]:
    return board.verdicts[board.sections.index(section)].best


def _tabular(section: Section, lines: Sequence[Line], best: Mapping[str, Any]) -> str:
    tasks = list(section.tasks)
    heads = [*map(escape_latex, map(plain, tasks)), "average", "gain", "speed-up"]
    out = [
        f"% {section.model}, {section.data} data; {units.caption(section.metric).strip() or 'percent'}",
        "\\begin{tabular}{ll" + "r" * len(heads) + "}",
        "\\toprule",
        " & ".join(["method", "scope", *heads]) + " \\\\",
        "\\midrule",
    ]
    for at, line in enumerate(lines):
        if at and lines[at - 1].row.reference and not line.row.reference:
            out.append("\\midrule")
        cells = [_cell(line.row.entry(t).mean(), line.row.entry(t).effect, _bold(best, t, line)) for t in tasks]
        cells.append(_cell(line.average, line.effect, _bold(best, "average", line)))
        cells.append("--" if line.gained is None else f"${text.signed(line.gained)}$")
        cells.append("--" if line.speedup is None else f"{line.speedup:.2f}$\\times$")
        names = [escape_latex(plain(line.row.method)), escape_latex(plain(line.row.where))]
        out.append(" & ".join([*names, *cells]) + " \\\\")
    return "\n".join([*out, "\\bottomrule", "\\end{tabular}"])


def _bold(best: Mapping[str, Any], column: str, line: Line) -> bool:
    standing = best.get(column)
    return standing is not None and standing.bold and standing.best is line.row


def _cell(mean: float | None, effect: stats.Effect | None, bold: bool) -> str:
    if mean is None:
        return "--"
    shown = f"\\textbf{{{text.percent(mean)}}}" if bold else text.percent(mean)
    return shown if effect is None else f"{shown} {{\\scriptsize $\\pm${text.percent(effect.half())}}}"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}


def escape_latex(said: str) -> str:
    """Text that stays text in LaTeX; what its basic fonts lack is a question mark."""
    escaped = re.sub(r"[\\~^&%$#_{}]", lambda found: _LATEX[found.group()], text.printable(said))
    return "".join(c if c.isascii() or c in "±×" else "?" for c in escaped)
