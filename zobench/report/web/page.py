"""board.html: the payload, the template and the libraries, in one text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import packed, store
from ..disk import write_text
from ..leaderboard import Board
from ..record import Record
from ..text import percent, signed
from .payload import Losses, payload

PAGE = "board.html"
LIBRARIES = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "tabulator.min.js")


def write(path: Path, board: Board, losses: Losses = lambda record: ()) -> None:
    """Write the page. Raises OSError where the system refuses."""
    write_text(path, render(board, losses))


def render(board: Board, losses: Losses = lambda record: ()) -> str:
    """The page of a board, `losses` its training losses: the same board and logs give the same bytes."""
    from jinja2 import Environment, StrictUndefined

    made = payload(board, losses)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, signed=signed, measured=_measured)
    template = environment.from_string(_read("template.html"))
    return template.render(
        made=made,
        data=json.dumps(made, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        styles=[_read("vendor/tabulator.min.css"), _read("page.css")],
        scripts=[_inert(_read(f"vendor/{name}")) for name in LIBRARIES] + [_inert(_read("page.js"))],
        licences=_read("vendor/LICENSES.txt"),
    )


def _measured(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """What some row has a value of: other columns are left out."""
    return {key for row in rows for key, value in row.items() if value is not None and value != []}


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _inert(text: str) -> str:
    """Text that cannot end the script element that it stands in, nor open a comment there."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def losses_of(*results: Path) -> Losses:
    """The training losses that logs of results folders hold, in cells/ or packed: packs are read once, when needed."""
    packs: list[dict[str, bytes]] = []
    ending = f".{store.ENDINGS['steps']}"

    def of(record: Record) -> list[tuple[int, float]]:
        if record.get("files", {}).get("steps") is None or "chosen" not in record:
            return []
        name = ""
        for folder in results:
            path = store.files(folder, record).steps
            name = path.name
            try:
                if path.is_file():
                    return _chosen(path.read_bytes(), record["chosen"]["lr"])
            except OSError:
                return []
        if not packs:
            every = (pair for folder in results for pair in packed.sides(folder))
            packs.append({n: d for n, d in every if n.endswith(ending) and isinstance(d, bytes)})
        return _chosen(packs[0].get(name, b""), record["chosen"]["lr"])

    return of


def _chosen(log: bytes, lr: float) -> list[tuple[int, float]]:
    """(step, loss) of one learning rate; lines that are none are passed over: a log is no record."""
    out = []
    for line in log.decode("utf-8", "replace").splitlines():
        if '"loss"' not in line:
            continue
        try:
            said: Any = json.loads(line)
            if said["lr"] == lr and said["loss"] is not None:
                out.append((int(said["step"]), float(said["loss"])))
        except (ValueError, KeyError, TypeError):
            continue
    return out
