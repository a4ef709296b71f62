"""Reading a task file: TOML whose keys and their types are checked before anything is made of them. Light."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ZobenchError, unknown
from .kinds import KINDS


class Key:
    """What a key of a task file may hold: its types in Python and in words, and whether it may be left out."""

    def __init__(self, words: str, *types: type, required: bool = True) -> None:
        self.words, self.types, self.required = words, types, required

    def holds(self, value: Any) -> bool:
        """Whether `value`, as TOML gave it, is of the types; of a list, whether it is one of texts and not empty."""
        if isinstance(value, bool) or not isinstance(value, self.types):
            return False
        return not isinstance(value, list) or (bool(value) and all(isinstance(v, str) for v in value))


TEXT, MAYBE_TEXT = Key("a text", str), Key("a text", str, required=False)
NUMBER, TEXTS = Key("a whole number", int), Key("a list of texts", list)
TABLE, MAYBE_TABLE = Key("a table", dict), Key("a table", dict, required=False)

TOP: Mapping[str, Key] = {
    "name": TEXT,
    "version": NUMBER,
    "title": TEXT,
    "kind": TEXT,
    "metric": TEXT,
    "train_loss": TEXT,
    "num_dev": NUMBER,
    "cluster": MAYBE_TEXT,
    "licence": MAYBE_TEXT,
    "citation": MAYBE_TEXT,
    "notes": MAYBE_TEXT,
    "source": TABLE,
    "template": TABLE,
    "sfc": MAYBE_TABLE,
}
TABLES: Mapping[str, Mapping[str, Key]] = {
    "source": {
        "id": MAYBE_TEXT,  # the first five are needed but for data in a folder of the task's own
        "config": MAYBE_TEXT,
        "revision": MAYBE_TEXT,
        "train": MAYBE_TEXT,
        "validation": MAYBE_TEXT,
        "folder": MAYBE_TEXT,
        "fields": TEXTS,
        "values": MAYBE_TABLE,
        "variant": MAYBE_TEXT,
    },
    "template": {
        "prompt": TEXT,
        "candidates": Key("a list of texts, or an expression", str, list, required=False),
        "text": TEXT,
        "answer": MAYBE_TEXT,  # needed by most kinds
    },
    "sfc": {"prompt": TEXT, "text": TEXT},
}


OF_THE_HUB = ("id", "config", "revision", "train", "validation")
"""Where a data set of the hub is: needed of a task that has no folder of its own."""


def read_task_file(path: Path) -> dict[str, Any]:
    """The checked content of a task file.

    Raises ZobenchError for a file that cannot be read or is not TOML (with the line), an unknown key (with the
    nearest ones), a missing key, and a value of the wrong type.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ZobenchError(f"{path}: cannot read the task file: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise ZobenchError(f"{path}: the task file is not UTF-8 text: {e.reason} at byte {e.start}") from None
    except tomllib.TOMLDecodeError as e:
        raise ZobenchError(f"{path}: not valid TOML: {e}") from None
    _check(values, TOP, str(path), "")
    for table, keys in TABLES.items():
        if table in values:
            _check(values[table], keys, str(path), table + ".")
    kind = KINDS.get(values["kind"])
    if "answer" not in values["template"] and (kind is None or "answer" in kind.keys):
        raise ZobenchError(f"{path}: the key template.answer is missing ({TEXT.words})")
    for name in () if "folder" in values["source"] else OF_THE_HUB:
        if name not in values["source"]:
            raise ZobenchError(
                f"{path}: the key source.{name} is missing (a text); or name the folder of the task's own data as "
                "source.folder"
            )
    return values


def _check(values: Mapping[str, Any], keys: Mapping[str, Key], path: str, prefix: str) -> None:
    for name, value in values.items():
        if name not in keys:
            raise ZobenchError(f"{path}: " + unknown("key", prefix + name, [prefix + k for k in keys]))
        if not keys[name].holds(value):
            raise ZobenchError(f"{path}: {prefix}{name} must be {keys[name].words}, not {value!r}")
    for name, key in keys.items():
        if key.required and name not in values:
            raise ZobenchError(f"{path}: the key {prefix}{name} is missing ({key.words})")
