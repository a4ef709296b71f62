"""A task from a table of the user's own: `zobench run --data` and `zobench new task --from`. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from ..errors import ZobenchError

if TYPE_CHECKING:
    from ..tasks.own_data import OwnTask


def task_of(
    data: Path,
    text: str | None,
    label: str | None,
    *,
    name: str | None = None,
    prompt: str | None = None,
    words: str | None = None,
    seed: int = 0,
) -> OwnTask:
    """The task that the options describe. ZobenchError for a table without --text and --label, and as own_task."""
    if text is None or label is None:
        raise ZobenchError(f"{data}: say which columns are what: --text review --label sentiment")
    from ..tasks.own_data import own_task

    columns = [one.strip() for one in text.split(",") if one.strip()]
    return own_task(data, columns, label, name=name, prompt=prompt, words=_words(words), seed=seed)


def _words(said: str | None) -> Mapping[str, str] | None:
    if said is None:
        return None
    pairs = [one.partition("=") for one in said.split(",")]
    if not all(key.strip() and word.strip() for key, _, word in pairs):
        raise ZobenchError(f"--words {said}: write label=word,label=word")
    return {key.strip(): word.strip() for key, _, word in pairs}


def write(task: OwnTask, directory: Path, *, replace: bool) -> Path:
    """Write `<name>.py`, `<name>.toml` and the folder of its items; returns the plugin file.

    ZobenchError where one is there, unless `replace`, and where the system refuses.
    """
    from ..report.disk import write_bytes
    from ..tasks.source import MADE

    plugin, toml, folder = (directory / f"{task.name}{ending}" for ending in (".py", ".toml", ""))
    for path in (plugin, toml, folder) if not replace else ():
        if path.exists():
            raise ZobenchError(f"{path} exists already: choose another name or --directory")
    template = (files(__package__) / "templates" / "task.py.txt").read_text(encoding="utf-8")
    run = f"zobench run --plugin {plugin.name} --tasks {task.name} --estimator mezo --model MODEL"
    content = {
        plugin: Template(template).substitute(name=task.name, run=run),
        toml: task.toml,
        folder / "train.jsonl": task.train,
        folder / "validation.jsonl": task.validation,
        folder / MADE: task.made,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in content.items():
            write_bytes(path, text.encode())
    except OSError as e:
        raise ZobenchError(f"cannot write {folder}: {e.strerror}") from e
    for line in task.said:
        print(f"{task.name}: {line}", file=sys.stderr)
    return plugin
