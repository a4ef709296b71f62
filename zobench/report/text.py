"""How a board writes numbers and tables. Light; one place, so that equal numbers look equal everywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

NONE = "-"
"""What stands where nothing was measured."""

_ABSOLUTE = re.compile(r"(?<![\w.:/~-])~?/(?:[^\s:'\"`,;()/]+/)+")


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers within names as numbers: `layer:2` stands before `layer:11`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def percent(value: float) -> str:
    """A fraction as a percentage with one decimal."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """A difference of fractions in points, with its sign; zero has none."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, to three figures."""
    ms = 1e3 * seconds
    return f"{ms:.0f}" if ms >= 99.95 else f"{ms:.1f}" if ms >= 9.995 else f"{ms:.2f}"


def ratio(value: float) -> str:
    """A speed-up."""
    return f"{value:.2f}x"


def size(n: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} B" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"


def count(n: float) -> str:
    """A whole number with its thousands apart; from a million on in millions, then billions."""
    if n >= 1e9:
        return f"{n / 1e9:.2f} G"
    return f"{n / 1e6:.1f} M" if n >= 1e6 else f"{round(n):,}"


def share(fraction: float) -> str:
    """A fraction as a percentage, to three figures, for shares that may be tiny."""
    return f"{100 * fraction:.3g} %"


def value(v: Any) -> str:
    """A setting's value: 1e-06, [1, 2], per_tensor."""
    if isinstance(v, float):
        return f"{v:g}"
    return v if isinstance(v, str) else json.dumps(v, sort_keys=True)


def plural(n: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def settings(items: Mapping[str, Any]) -> str:
    """Settings in one line: `eps=0.001, rank=2`."""
    return ", ".join(f"{key}={value(items[key])}" for key in sorted(items)) or NONE


def flat(items: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots."""
    out: dict[str, Any] = {}
    for key, v in items.items():
        out |= flat(v, f"{prefix}{key}.") if isinstance(v, Mapping) and v else {f"{prefix}{key}": v}
    return out


def layers(indices: Sequence[int]) -> str:
    """Block indices with runs joined: `0-31`, `1, 30`."""
    runs: list[list[int]] = []
    for i in sorted(set(indices)):
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs) or NONE


def sentence(text: str, limit: int = 300) -> str:
    """One line of at most `limit` characters, its paths without their folders: a board tells nothing of a disk."""
    line = _ABSOLUTE.sub("", " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


_LIVE = re.compile(
    r"[<`*]|(?<!\w)_+"  # HTML, code, what opens emphasis: bold is a verdict, italics a reference
    r"|\](?=[(\[:])"  # links and pictures
    r"|(?<=[a-zA-Z]):(?=//)|(?<=mailto):|(?<=xmpp):|(?<=\bwww)\.|(?<=\w)@(?=\w)",  # addresses, which become links
    re.IGNORECASE,
)
"""What of a text in one line Markdown would not show as it stands."""


_PIPES = re.compile(r"\\(?=\\*\|)")
"""A backslash before a pipe: it would take the escape's."""


def printable(said: str) -> str:
    """A text in one line, its control characters and marks of direction as escapes: what a terminal may be shown."""
    line = " ".join(said.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def foreign(said: str) -> str:
    """A text from elsewhere (a name, a setting, an error) that stays text in Markdown: one line, nothing in it live.

    A cell of a table needs `escape` too. What was made inert before stays as it is.
    """
    made = said if said == "_" else _LIVE.sub(_dead, printable(said))  # alone it is no emphasis
    return said if made == said else made


def _dead(found: re.Match[str]) -> str:
    return "".join("&lt;" if mark == "<" else f"&#{ord(mark)};" for mark in found.group())


def inert(value: Any) -> Any:
    """JSON-like data with `foreign` applied to all its texts, keys too; the same object where that changes nothing."""
    if isinstance(value, str):
        return foreign(value)
    if isinstance(value, Mapping):
        made = {foreign(k) if isinstance(k, str) else k: inert(v) for k, v in value.items()}
        same = all(a is b and k == j for (k, a), (j, b) in zip(value.items(), made.items(), strict=True))
        return value if same else made
    if isinstance(value, list | tuple) and value and not isinstance(value[0], float | int):
        each = [inert(one) for one in value]
        return value if all(a is b for a, b in zip(value, each, strict=True)) else each
    return value


def escape(text: str) -> str:
    """Text that keeps to its cell of a Markdown table and is no HTML."""
    return _PIPES.sub("&#92;", printable(text)).replace("|", "\\|").replace("<", "&lt;")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int | Sequence[bool] = 2) -> str:
    """A Markdown table; empty where there are no rows.

    The first `left` columns are aligned left (or those of which it says so), the others right.
    """
    if not rows:
        return ""
    cells = [[escape(cell) for cell in row] for row in rows]
    of_left = [i < left for i in range(len(headers))] if isinstance(left, int) else left
    aligned = ["left" if one else "right" for one in of_left]
    return tabulate(cells, [escape(h) for h in headers], tablefmt="pipe", disable_numparse=True, colalign=aligned)


def folded(title: str, blocks: Sequence[str]) -> list[str]:
    """Blocks of Markdown that open on a click; none where there are none."""
    return [f"<details><summary>{title}</summary>", *blocks, "</details>"] if blocks else []


def bullets(lines: Sequence[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {printable(line).replace('<', '&lt;')}" for line in lines)
