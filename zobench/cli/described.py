"""What classes say of themselves, without importing what they compute with: a command that only describes is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TypeVar

from ..deferred import put_off
from ..plugins.registry import Plugins, load_plugins

COMPUTE = (
    "accelerate",
    "datasets",
    "evaluate",
    "huggingface_hub",
    "numpy",
    "peft",
    "safetensors",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
    "triton",
)
"""What methods compute with."""

Told = TypeVar("Told")


def described(files: Sequence[Path] | None, tell: Callable[[Plugins], Told]) -> Told:
    """What `tell` makes of the plugins, with those of `--plugin`: plain data, no classes.

    Their modules are imported without those they compute with. Where that cannot be, as a class uses one of them to say
    what it is, a fact is to be measured, anything goes wrong), they are imported as ever.
    """
    if "torch" not in sys.modules:
        before, quiet, told = set(sys.modules), list[str](), list[Told]()
        with put_off(*COMPUTE, imports=False) as deferral:
            try:
                found = load_plugins(files or (), warn=quiet.append)
                told.append(tell(found))
            except Exception:  # is raised again, or does not happen, where all is imported
                told.clear()
        _forget(set(sys.modules) - before, deferral.importers)
        if told and not quiet and not deferral.used:
            return told[0]
    return tell(load_plugins(files or ()))


def _forget(made: set[str], stale: set[str]) -> None:
    """Have modules be imported anew by who needs them: of those just made the stale ones, and what took from them."""
    count = 0
    while count != len(stale):
        count = len(stale)
        stale = stale | {name for name in made - stale if _took(sys.modules[name], stale)}
    for name in made & stale:
        module = sys.modules.pop(name)
        above, _, last = name.rpartition(".")
        if above in sys.modules and vars(sys.modules[above]).get(last) is module:
            delattr(sys.modules[above], last)


def _took(module: ModuleType, names: set[str]) -> bool:
    """Whether the module has one of these modules, or a class or function of one."""
    for value in list(vars(module).values()):
        home = value.__name__ if isinstance(value, ModuleType) else vars(type(value)).get("__module__")
        home = getattr(value, "__module__", home) if isinstance(value, type | FunctionType) else home
        if home in names:
            return True
    return False
