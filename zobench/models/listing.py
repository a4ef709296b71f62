"""transformers' list of what its models define, which is made when it is imported, out of the text of all of them.

It reads each of some thousand files twice, as it remembers 128 folders, and goes through their lines for a word that
stands in the last ones: a sixth of the time that a short command takes. The list is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

LISTS = "transformers.utils.import_utils"
"""The module that makes the list."""


def quicken(module: Any) -> None:
    """Have the module read each file once, and of its text only what begins at the last line with `__all__`.

    A release that makes the list in another way is left alone.
    """
    names: Any = getattr(module, "fetch__all__", None)
    folder: Any = getattr(module, "create_import_structure_from_path", None)
    if names is not None:
        module.fetch__all__ = lambda text: names(text[max(0, text.rfind("\n__all__") + 1) :])
    if hasattr(folder, "__wrapped__"):
        module.create_import_structure_from_path = cache(folder.__wrapped__)


class _Quickening(Loader):
    """Loads a module as another loader does, and quickens it."""

    def __init__(self, plain: Loader) -> None:
        self.plain = plain

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.plain.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.plain  # whoever asks for its file or source asks this
        self.plain.exec_module(module)
        quicken(module)


class _Finder(MetaPathFinder):
    """Finds the module that makes the list."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == LISTS else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Quickening(spec.loader)
        return spec


@contextmanager
def listed_quickly() -> Iterator[None]:
    """Inside, transformers is imported with its list made so."""
    if LISTS in sys.modules:
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
