"""What several subcommands share: options, tables, JSON, and loading plugins. Light."""

from __future__ import annotations

import contextlib
import enum
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import ZobenchError, library
from ..paths import check_writable
from ..plugins.registry import KINDS, Plugins, load_plugins

if TYPE_CHECKING:
    from ..report.record import Record
    from ..report.rows import Section

PluginFiles = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="Also load this Python file as a plugin (may be given repeatedly)."),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A folder with a model, a hub id, or the name of a model of a plugin. [the small one that comes along]",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="Read tasks from DIR/<task>/{train,validation}.jsonl instead of the hub."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, xpu, mps; ROCm: cuda.")]
DeviceMap = Annotated[
    str,
    typer.Option(
        help="Over several GPUs: balanced or sequential; none: on one. auto: balanced where one has no room.",
        metavar="MAP",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask a hub; use what is on this machine.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class FamilyName(StrEnum):
    """Over which comparisons marks are corrected."""

    board = "board"
    claim = "claim"
    column = "column"


FamilyOption = Annotated[
    FamilyName,
    typer.Option(help="Correct marks over all comparisons of the board or page, those of one claim, or of one column."),
]
MARGIN_POINTS = 2.0
"""Points within which two methods are as good as each other, if nothing is said."""
MarginOption = Annotated[
    float, typer.Option(help="Points within which two methods count as equally good.", min=0.0, show_default=True)
]


CellId = Annotated[str, typer.Argument(help="The id of a cell, as its record's file is named.")]
RebuiltOn = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1; the kind it ran on gives the same bits.")]
Results = Annotated[Path, typer.Argument(help="A results folder: cells/ or a pack.", metavar="DIR")]

PresetName = Annotated[
    str | None,
    typer.Option("--preset", help="Sizes and steps (zobench ls presets). [the model's own, else the usual one]"),
]


class Dtype(StrEnum):
    """What weights may be held in."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"


Kinds = enum.Enum("Kinds", {kind: kind for kind in KINDS}, type=str)  # type: ignore[misc]
"""`estimators`, `selectors`, ... as the choices of an argument."""
Singular = enum.Enum("Singular", {kind.singular: kind.singular for kind in KINDS.values()}, type=str)  # type: ignore[misc]
"""`estimator`, `selector`, ... as the choices of an argument."""


def numbers_of(text: str, option: str) -> tuple[int, ...]:
    """Seeds, comma separated, each once: as MeZO's generators take them. ZobenchError for none, or other words."""
    from ..settings import Range, convert

    seeds = convert(text, tuple[Annotated[int, Range(ge=0, lt=2**32)], ...], option)
    if not seeds:
        raise ZobenchError(f"{option} names none; write for example {option} 0,1,2")
    return tuple(dict.fromkeys(seeds))


def plugins_of(files: Sequence[Path] | None, *, quiet: bool = False) -> Plugins:
    """Load the plugins, with those of `--plugin`; `quiet` when their load errors are shown otherwise."""
    return load_plugins(files or (), warn=_silent) if quiet else load_plugins(files or ())


def _silent(message: str) -> None:
    """Drop a warning whose fact the caller shows itself."""


def print_json(value: Any) -> None:
    """Print `value` as JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


_NEVER_WRAPPED = 24
"""Columns up to this width stay whole in a narrow terminal; wider ones give way."""


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print left-aligned columns on stdout: wrapped to the width of a terminal, one line a row where there is none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column, heading in enumerate(headings):
        short = max((len(row[column]) for row in rows), default=0) <= _NEVER_WRAPPED
        table.add_column(heading, overflow="fold", no_wrap=short)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 1000)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_markdown(made: str) -> None:
    """Print a page: as it is, or laid out for a terminal where stdout is one."""
    if not sys.stdout.isatty():
        print(made, end="")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(made))


def figure_class(path: Path) -> Any:
    """The Figure of matplotlib. Raises ZobenchError for a file that it cannot draw, and where it is not installed."""
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ZobenchError(f"--plot {path}: name a .png, .pdf or .svg file")
    return library("matplotlib.figure", "--plot", install="'zobench[plots]'").Figure


def picture(figure: Any, path: Path) -> bytes:
    """The picture's file, in the format that the path's ending names."""
    made = io.BytesIO()
    figure.savefig(made, format=path.suffix.lower()[1:], dpi=150)
    return made.getvalue()


def check_outputs(**options: Path | None) -> None:
    """ZobenchError for the first file, of those that options name, that cannot be written: asked before the work.

    Also for a picture that cannot be drawn (`plot`).
    """
    for option, path in options.items():
        if path is not None:
            check_writable(path, f"--{option}")
    if options.get("plot") is not None:
        figure_class(cast(Path, options["plot"]))


def records_of(results: Path) -> list[Record]:
    """All records of a results folder; a line on stderr where cells/ and the pack differ.

    Raises ZobenchError where one of them cannot be read.
    """
    from ..plugins import declared
    from ..report import store
    from ..report.known import filled

    found = store.survey(results)
    if found.problems:
        raise ZobenchError(f"{results}: {found.problems[0]}")
    note_twice(results, found.twice)
    return filled(found.records, declared.known(load_plugins()))


def section_of(results: Path) -> Section:
    """The one section of a folder, with what plugins say of names; what is told of it is of one model and protocol.

    ZobenchError where it has none, or several.
    """
    from ..plugins import declared
    from ..report import text
    from ..report.sections import sections

    found = sections(records_of(results), split_protocols=True, known=declared.known(load_plugins()))
    if not any(section.scored for section in found):
        raise ZobenchError(f"no cell under {results} ended well: zobench status {results} says what is there")
    if len(found) > 1:
        of = "; ".join(dict.fromkeys(f"{one.model} {text.settings(one.distinct)}".removesuffix(" -") for one in found))
        raise ZobenchError(
            f"{results} has {len(found)} sections, one for each model, source of data and protocol ({of}): give a "
            "folder with one"
        )
    return found[0]


def note_twice(results: Path, twice: Sequence[str]) -> None:
    """Say on stderr of which cells the pack has another finished record than cells/."""
    if twice:
        from ..report.text import printable

        says = "the pack has another finished record; that of cells/ counts"
        mend = f"`zobench pack {results} --replace` puts it in the pack"
        print(f"zobench: note: {printable(some(twice))}: {says}; {mend}", file=sys.stderr)


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


@contextlib.contextmanager
def atomically(path: Path, said: str) -> Iterator[Path]:
    """Where to write what shall lie at `path`: it does when the body ends well, and else nothing is left.

    Raises ZobenchError, naming `said`, where the system refuses; a library may have its own kind of error for that.
    """
    from ..report.disk import draft, sync_file

    temporary = draft(path)
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
    except Exception as error:
        if not isinstance(error, OSError) and type(error).__name__ != "SafetensorError":  # which is no OSError
            raise
        raise ZobenchError(f"{said} {path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user named, whole or not at all. Raises ZobenchError where that fails."""
    from ..report.disk import write_bytes

    try:
        write_bytes(path, content)
    except OSError as error:
        raise ZobenchError(f"cannot write {path}: {error.strerror}") from error
