"""The options of `zobench run` as a TOML file: read by `--config`, and written into the results folder by every run.

Keys are the options without their dashes; lists stand for what is comma separated; the table `set` holds settings:

    estimator = ["mezo", "lozo"]
    tasks = ["sst2", "copa"]
    seeds = [0, 1, 2]
    preset = "paper"

    [set]
    "layer.index" = 1
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from .. import redact
from ..errors import ZobenchError, unknown
from ..paths import is_file
from ..report import options_kept
from ..report.options_kept import FILE

NOT_KEPT = frozenset({"config", "set_", "dry_run", "for_device", "rerun", "shard"})
"""Options that say nothing of what a run is."""
_PATHS = frozenset({"results", "data_dir", "plugin"})
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def from_file(context: typer.Context, path: Path | None) -> Path | None:
    """Make the options in the file those that hold where the command line names none. Raises ZobenchError."""
    if path is None or context.resilient_parsing:
        return path
    given = dict(_read(path))
    settings = given.pop("set", {})
    if not isinstance(settings, dict):
        raise ZobenchError(f"--config {path}: `set` is no table: write [set] and below it key = value")
    known = {_key(p.name): p for p in context.command.params if p.name not in ("config", "set_", "help", "context")}
    values: dict[str, Any] = {}
    for key, value in given.items():
        option = key.replace("_", "-")
        if option not in known:
            raise ZobenchError(f"--config {path}: " + unknown("option", key, (*known, "set")))
        values[str(known[option].name)] = _value(path, key, value, known[option])
    context.default_map = {**(context.default_map or {}), **values}
    context.obj = {key: _text(path, f"set.{key}", value) for key, value in _flat(settings).items()}
    return path


def settings_in(context: typer.Context) -> dict[str, str]:
    """The settings of the config file, by key."""
    return dict(context.obj or {})


def as_toml(context: typer.Context) -> str:
    """The options of this command as such a file: all that were given, wherever; paths as they hold anywhere."""
    lines, settings = [], settings_in(context)
    for parameter in context.command.params:
        name = str(parameter.name)
        value = context.params.get(name)
        if name not in NOT_KEPT and value is not None and value != parameter.default and value != ():
            lines.append(f"{_key(name)} = {_shown(redact.clean(_absolute(name, value)))}")
    from ..run.routing import parse_settings

    settings |= parse_settings(context.params.get("set_") or [])
    if settings:
        pairs = redact.clean(settings)
        lines += ["", "[set]", *(f"{_quoted(key)} = {json.dumps(pairs[key])}" for key in sorted(settings))]
    return "\n".join([f"# zobench run --config {FILE} does this again", *lines]) + "\n"


def keep(results: Path, text: str) -> None:
    """Write the options of a run into its results folder; those of an earlier run there, if others, get a number.

    Raises ZobenchError where that cannot be written.
    """
    try:
        options_kept.keep(results, text)
    except OSError as e:
        raise ZobenchError(f"--results {results}: {FILE} cannot be written there: {e.strerror}") from e


def _read(path: Path) -> Mapping[str, Any]:
    if not is_file(path, "--config"):
        raise ZobenchError(f"--config {path}: no such file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise ZobenchError(f"--config {path}: this is no TOML: {' '.join(str(e).split())}") from e
    except OSError as e:
        raise ZobenchError(f"--config {path}: cannot be read: {e.strerror}") from e


def _value(path: Path, key: str, value: Any, option: Any) -> Any:
    """As the option takes it from a command line."""
    if getattr(option, "is_flag", False):
        if not isinstance(value, bool):
            raise ZobenchError(f"--config {path}: {key} is true or false, not {value!r:.40}")
        return value
    if getattr(option, "multiple", False):
        return [_text(path, key, one) for one in (value if isinstance(value, list) else [value])]
    return _text(path, key, value)


def _text(path: Path, key: str, value: Any) -> str:
    """A value as it would be typed: lists with commas."""
    if isinstance(value, list) and not any(isinstance(one, list) for one in value):
        return ",".join(_text(path, key, one) for one in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ZobenchError(f"--config {path}: {key} is neither text nor a number nor a list of them")


def _flat(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """`[set.layer] index = 1` is `layer.index`."""
    out: dict[str, Any] = {}
    for key, value in settings.items():
        out |= _flat(value, f"{where}{key}.") if isinstance(value, dict) else {f"{where}{key}": value}
    return out


def _key(name: str | None) -> str:
    return str(name).rstrip("_").replace("_", "-")


def _absolute(name: str, value: Any) -> Any:
    if name == "model" and Path(os.path.expanduser(value)).exists():
        return str(Path(os.path.expanduser(value)).absolute())
    if name not in _PATHS:
        return value
    each = [str(Path(one).expanduser().absolute()) for one in (value if isinstance(value, list | tuple) else [value])]
    return each if isinstance(value, list | tuple) else each[0]


def _shown(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    return json.dumps(str(getattr(value, "value", value)))


def _quoted(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)
