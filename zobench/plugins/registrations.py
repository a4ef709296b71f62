"""What plugins may register, and whether what they gave is that. Light: nothing is imported but what is asked for."""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from .. import reserved
from ..errors import ZobenchError, shown, unknown
from .discovery import PluginFault, PluginInfo, describe_fault


@dataclass(frozen=True)
class Kind:
    """A kind of thing that plugins register: its hook is `zobench_<plural>`."""

    singular: str
    base: tuple[str, str] | None  # module and name of the class that a registered class must have as a base
    wants: str  # what a value may be, in words
    marks: str = "_-"  # what a name may contain beside letters and digits
    settings: bool = False  # whether annotated attributes of the class are settings

    @property
    def pattern(self) -> str:
        """The regular expression of its names."""
        return rf"[A-Za-z0-9_][A-Za-z0-9{re.escape(self.marks)}]*"


KINDS: Mapping[str, Kind] = {
    "estimators": Kind(
        "estimator", ("zobench.estimator.estimator", "Estimator"), "a subclass of zobench.Estimator", settings=True
    ),
    "selectors": Kind(
        "selector", ("zobench.contracts.selector", "Selector"), "a subclass of zobench.Selector", settings=True
    ),
    "directions": Kind(
        "directions", ("zobench.estimator.families", "Directions"), "a subclass of zobench.Directions", settings=True
    ),
    "transforms": Kind(
        "transform", ("zobench.contracts.transform", "Transform"), "a subclass of zobench.Transform", settings=True
    ),
    "tasks": Kind("task", ("zobench.tasks.task", "Task"), "a pathlib.Path of a TOML file or a zobench.Task"),
    "models": Kind("model", None, "a function that loads a model", "_-."),
    "executors": Kind("executor", None, "a class with a method `run`"),
    "presets": Kind("preset", ("zobench.plugins.presets", "Preset"), "a zobench.Preset"),
    "data_sources": Kind("data_source", ("zobench.tasks.source", "DataSource"), "a subclass of zobench.DataSource"),
}


@dataclass(frozen=True)
class Table:
    """What plugins say of names that may be anyone's, so that several may speak of one: hook `zobench_<plural>`."""

    wants: str
    fits: Callable[[object], bool]


def _texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)


TABLES: Mapping[str, Table] = {
    "rates": Table("a pathlib.Path of a JSON file", lambda value: isinstance(value, Path)),
    "model_settings": Table(
        "a mapping of settings to values", lambda value: isinstance(value, Mapping) and _texts([*value])
    ),
    "revisions": Table("a commit, as text", lambda value: isinstance(value, str)),
    "roles": Table("a list of names", _texts),
}

ROLES: Mapping[str, str] = {
    "untouched": "estimators",  # scores the model as it is: what gains are over
    "reference": "estimators",  # stands on boards for orientation, and is no rival
    "baseline": "estimators",  # whose step speed-ups are relative to, and the usual control
    "everything": "selectors",  # takes all weights: if no selector is named, and the usual control of selectors
    "one_block": "selectors",  # takes the decoder block after the colon: `zobench analyze layers`
    "outlier_block": "selectors",  # whose choice that page marks, and whose rule `zobench analyze activations` goes by
    "whole_blocks": "selectors",  # take one whole decoder block that they choose in another way: the paper's tables
    "usual_model": "models",  # if no model is named
    "usual_preset": "presets",  # if no preset is named, of models that no preset names
}
"""The parts that names may play (hook `zobench_roles`), each with the kind of things that plays it."""
COLUMNS = "zobench_leaderboard_columns"


@dataclass(frozen=True)
class Offer:
    """One registered name: its value as the plugin gave it, and the plugin."""

    kind: str
    name: str
    value: object
    by: PluginInfo


def hook_of(kind: str) -> str:
    """The hook that registers things of a kind."""
    return kind if kind == COLUMNS else f"zobench_{kind}"


def check_offer(kind: str, name: object, value: object) -> None:
    """PluginFault unless `name` and `value` are what the hook may return. Imports nothing."""
    hook = hook_of(kind)
    if kind == COLUMNS:
        if not isinstance(name, str) or not callable(value):
            raise PluginFault(f"{hook}: {name!r}: {shown(value)} is not a heading and a function")
        if wrong := reserved.heading_fault(name):
            raise PluginFault(f"{hook}: {wrong}")
        return
    if kind in TABLES:
        return _check_entry(kind, name, value)
    rules = KINDS[kind]
    if not isinstance(name, str) or not re.fullmatch(rules.pattern, name):
        raise PluginFault(f"{hook}: {name!r} is no name: use letters, digits and {' '.join(rules.marks)}")
    if wrong := reserved.name_fault(kind, name):
        raise PluginFault(f"{hook}: {wrong}")
    if isinstance(value, str):
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", value):
            raise PluginFault(f"{hook}: {name}: {value!r} does not read 'module:Name'")
    elif not _fits(kind, value):
        raise PluginFault(f"{hook}: {name}: {shown(value)} is not {rules.wants}, nor 'module:Name'")
    elif wrong := _misnamed(kind, value):
        raise PluginFault(f"{hook}: {name}: {wrong}")


def _check_entry(kind: str, name: object, value: object) -> None:
    hook = hook_of(kind)
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        raise PluginFault(f"{hook}: {shown(name)} is no name")
    if kind == "roles" and name not in ROLES:
        raise PluginFault(f"{hook}: " + unknown("role", name, ROLES))
    if not TABLES[kind].fits(value):
        raise PluginFault(f"{hook}: {name}: {shown(value)} is not {TABLES[kind].wants}")


def _fits(kind: str, value: object) -> bool:
    """Whether a value that exists is of the kind. A base whose module is not imported yet has no subclasses."""
    base = KINDS[kind].base
    home = getattr(sys.modules.get(base[0]), base[1], ()) if base else ()
    if kind == "tasks":
        return isinstance(value, Path) or isinstance(value, home)
    if kind == "models":
        return callable(value)
    if kind == "presets":
        return isinstance(value, home)
    if kind == "executors":
        return isinstance(value, type) and callable(getattr(value, "run", None))
    return isinstance(value, type) and issubclass(value, home) and value is not home


def _misnamed(kind: str, value: object) -> str:
    """What a class calls its own though it is zobench's, or declares wrongly; empty for other values."""
    base = KINDS[kind].base
    home = getattr(sys.modules.get(base[0]), base[1], None) if base else None
    if not KINDS[kind].settings or not isinstance(value, type) or home is None:
        return ""
    return reserved.class_fault(kind, value, home)


def import_offer(offer: Offer) -> object:
    """Import what 'module:Name' names. ZobenchError if that fails, or if it is not of the offer's kind."""
    singular, text = KINDS[offer.kind].singular, cast(str, offer.value)
    module, _, path = text.partition(":")
    where = f"{singular} {offer.name!r} of {offer.by}: {text!r}"
    try:
        value = functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # whatever a plugin's module raises
        raise ZobenchError(f"{where} cannot be imported: {describe_fault(e)}") from e
    if not _fits(offer.kind, value):
        raise ZobenchError(f"{where} is not {KINDS[offer.kind].wants}")
    if wrong := _misnamed(offer.kind, value):
        raise ZobenchError(f"{where}: {wrong}")
    return value
