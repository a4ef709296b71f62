"""The command that runs a record's cell again, as far as a record knows it."""

from __future__ import annotations

import shlex
from typing import Any

from ..record import NO_SELECTOR, Record

_OPTIONS = {"dtype": "--dtype", "engine": "--engine"}


def command(record: Record, task: str | None = None, seed: str | None = None) -> str:
    """`zobench run ...` with model, task, estimator, selector, seed, rates, sizes and settings of the cell.

    `task` and `seed` replace those of the record. A model or data from a folder are named as in the record, without the
    path of the folder.
    """
    cell, protocol = record["cell"], record["protocol"]
    words = ["zobench", "run", "--model", cell["model"], "--estimator", cell["estimator"]]
    if cell["selector"] != NO_SELECTOR:
        words += ["--selector", cell["selector"]]
    if cell["data"] == "folder":
        words += ["--data-dir", "DATA"]
    if cell["lrs"]:
        words += ["--lr", ",".join(f"{lr:g}" for lr in cell["lrs"])]
    settings: dict[str, Any] = dict(cell["run_settings"])
    for key, option in _OPTIONS.items():
        if key in settings:
            words += [option, _value(settings.pop(key))]
    owned = {f"protocol.{k}": v for k, v in protocol.items() if k != "version"}
    owned |= {f"{cell['estimator']}.{k}": v for k, v in cell["estimator_settings"].items()}
    owned |= _of_selector(record)
    owned |= {f"run.{k}": v for k, v in settings.items()}
    for key, value in owned.items():
        if value is not None and value != []:
            words += ["--set", f"{key}={_value(value)}"]
    of = {"--tasks": task or shlex.quote(cell["task"]), "--seeds": seed or str(cell["seed"])}
    return f"{shlex.join(words)} {' '.join(f'{option} {value}' for option, value in of.items())}"


def _of_selector(record: Record) -> dict[str, Any]:
    """Settings of a selector; those of a sum's terms are named already."""
    cell = record["cell"]
    name = cell["selector"].partition(":")[0]
    return {k if "." in k else f"{name}.{k}": v for k, v in cell["selector_settings"].items()}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
