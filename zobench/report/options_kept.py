"""The options of the runs of a results folder: `run.toml` of the last one, `run.<n>.toml` of earlier others. Light."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

FILE = "run.toml"
_NUMBERED = re.compile(r"run\.([0-9]+)\.toml")
_RESULTS = re.compile(r"^results = .*\n", re.MULTILINE)


def keep(results: Path, text: str) -> None:
    """Write the options of a run into its results folder; those of an earlier run there, if others, get a number.

    Raises OSError where the system refuses.
    """
    path = results / FILE
    results.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") != text:
        number = 1
        while (older := results / f"run.{number}.toml").exists():
            number += 1
        os.replace(path, older)
    path.write_text(text, encoding="utf-8")


def kept(results: Path) -> list[Path]:
    """The files of a folder, those of the latest run last."""
    found = [(_NUMBERED.fullmatch(path.name), path) for path in results.glob("run.*.toml")]
    numbered = sorted((int(name[1]), path) for name, path in found if name is not None)
    last = [results / FILE] if (results / FILE).is_file() else []
    return [path for _, path in numbered] + last


def moved(text: str, results: Path) -> str:
    """The same options for another results folder."""
    line = f"results = {json.dumps(str(results.absolute()))}\n"
    bare = _RESULTS.sub("", text)
    head, comment, rest = bare.partition("\n") if bare.startswith("#") else ("", "", bare)
    return f"{head}{comment}{line}{rest}"


def meaning(text: str) -> object:
    """What two files have in common that differ in their results folder alone; the text where it is no TOML."""
    try:
        return {key: value for key, value in tomllib.loads(text).items() if key != "results"}
    except tomllib.TOMLDecodeError:
        return text
