"""`zobench new`: a plugin file to start from, which runs as it is."""

from __future__ import annotations

import enum
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

import zobench

from ..errors import ZobenchError
from ..report.disk import write_bytes
from .own_task import task_of, write

Makes = enum.Enum("Makes", {kind: kind for kind in ("estimator", "selector", "task")}, type=str)  # type: ignore[misc]


def new(
    kind: Annotated[Makes, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name: lower-case letters, digits and _.")],
    directory: Annotated[Path, typer.Option("--directory", metavar="DIR", help="Where to write it.")] = Path("."),
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="A task of these items: .csv, .tsv, .jsonl, .parquet.", metavar="FILE"),
    ] = None,
    text: Annotated[str | None, typer.Option(help="With --from: the columns of text, comma separated.")] = None,
    label: Annotated[str | None, typer.Option(help="With --from: the column of labels.")] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With --from: the prompt, '{review} It was', not columns and label's name.")
    ] = None,
    words: Annotated[str | None, typer.Option(help="With --from: labels in words, 0=bad,1=good.")] = None,
    seed: Annotated[int, typer.Option(help="With --from: of the draw of test items.", min=0)] = 0,
) -> None:
    """Write a ready-to-run plugin file with a new estimator, selector or task, and say how to run it.

    Nothing that exists is overwritten. docs/plugins.md explains every line of it.
    """
    if from_ is not None:
        if kind.value != "task":
            raise ZobenchError(f"--from is of a task, not of a {kind.value}")
        made = task_of(from_, text, label, name=checked(name, "task"), prompt=prompt, words=words, seed=seed)
        plugin = write(made, directory, replace=False)
        print(f"wrote {plugin}, {directory / name}.toml and {directory / name}/")
        print(f"see it:  zobench show task {name} --plugin {plugin}")
        print(f"run it:  zobench run --plugin {plugin} --tasks {name} --estimator mezo --model MODEL")
        return
    written = write_plugin(kind.value, name, directory)
    plugin = written[0]
    print("wrote " + " and ".join(map(str, written)))
    print(f"see it:  zobench show {kind.value} {name} --plugin {plugin}")
    print("run it:  " + _RUN[kind.value].format(path=plugin, name=name))


_RUN = {
    "estimator": "zobench run --plugin {path} --estimator {name},mezo --tasks sst2 --model MODEL",
    "selector": "zobench run --plugin {path} --selector {name},all --estimator mezo --tasks sst2 --model MODEL",
    "task": "zobench run --plugin {path} --tasks {name} --estimator mezo --model MODEL --data-dir DIR",
}
"""How to run what was written, beside what it is compared with."""


def write_plugin(kind: str, name: str, directory: Path) -> list[Path]:
    """Write the plugin file `<name>.py` (for a task also `<name>.toml`) and return the paths, the plugin first.

    ZobenchError for a name that cannot be a Python name, a file that exists, or a folder that cannot be written to.
    """
    checked(name, kind)
    endings = (".py", ".toml") if kind == "task" else (".py",)
    paths = [directory / f"{name}{ending}" for ending in endings]
    for path in paths:
        if path.exists():
            raise ZobenchError(f"{path} exists already: choose another name or --directory")
    run = _RUN[kind].format(path=paths[0], name=name)
    words = {"name": name, "run": run, "class_name": class_name(name, kind)}
    templates = files(__package__) / "templates"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, ending in zip(paths, endings, strict=True):
            text = (templates / f"{kind}{ending}.txt").read_text(encoding="utf-8")
            write_bytes(path, Template(text).substitute(words).encode())
    except OSError as e:
        raise ZobenchError(f"cannot write {paths[0]}: {e.strerror}") from e
    return paths


def checked(name: str, kind: str) -> str:
    """The name. ZobenchError for one that cannot be a Python name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ZobenchError(f"{name!r} cannot be the name of a new {kind}: use lower-case letters, digits and _")
    return name


def class_name(name: str, kind: str) -> str:
    """`my_zo` as the name of a class: `MyZo`; with the kind after it where the file uses that name itself."""
    title = "".join(part.capitalize() for part in name.split("_"))
    return title + kind.capitalize() if title in (*zobench.__all__, "Tensor", "Path") else title
